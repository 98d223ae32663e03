# Makes a C object of the bytes of a file:
#   cmake -DIN=FILE -DOUT=FILE.c -DNAME=SYMBOL -DHEADER=FILE.h -P Embed.cmake
# HEADER declares SYMBOL and SYMBOL_len.
file(SIZE "${IN}" len)
file(READ "${IN}" bytes HEX)
string(REGEX REPLACE "(........................)" "\\1\n" bytes "${bytes}")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
file(WRITE "${OUT}" "#include \"${HEADER}\"\n\n"
	"const unsigned char ${NAME}[] = {\n${bytes}\n};\n"
	"const size_t ${NAME}_len = ${len};\n")
