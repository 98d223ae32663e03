/* replay: feeds files to a fuzz target where libFuzzer is not there: every
 * argument that is not an option is a file or a folder of files. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define INPUT_MAX (1 << 20)

static int
replay_file(const char *path)
{
	uint8_t *data = malloc(INPUT_MAX);
	FILE *f = fopen(path, "rb");
	size_t len;

	if (!data || !f) {
		perror(path);
		exit(1);
	}
	len = fread(data, 1, INPUT_MAX, f);
	fclose(f);
	/* An exact copy, so that a sanitizer sees its end. */
	data = realloc(data, len ? len : 1);
	(void)LLVMFuzzerTestOneInput(data, len);
	free(data);
	return 1;
}

static int
replay_folder(const char *path, DIR *dir)
{
	char file[4096];
	struct dirent *e;
	int n = 0;

	while ((e = readdir(dir))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(file, sizeof(file), "%s/%s", path, e->d_name);
		n += replay_file(file);
	}
	return n;
}

int
main(int argc, char **argv)
{
	int n = 0;

	for (int i = 1; i < argc; i++) {
		DIR *dir = opendir(argv[i]);

		if (argv[i][0] == '-')
			continue;
		n += dir ? replay_folder(argv[i], dir) : replay_file(argv[i]);
		if (dir)
			closedir(dir);
	}
	printf("%d inputs replayed\n", n);
	return n > 0 ? 0 : 1;
}
