# What every target of the project is compiled and linked with.
#   UKAI_WERROR    a warning is an error
#   UKAI_SANITIZE  list for -fsanitize=, for example "address,undefined"
#   UKAI_FUZZ      coverage for libFuzzer (clang)
add_library(ukai_flags INTERFACE)
set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
target_compile_definitions(ukai_flags INTERFACE _GNU_SOURCE)
target_compile_options(ukai_flags INTERFACE
	-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wstrict-prototypes
	-Wmissing-prototypes -Wvla -Wformat=2
	-fstack-protector-strong -fno-strict-aliasing)
if(UKAI_WERROR)
	target_compile_options(ukai_flags INTERFACE -Werror)
endif()
if(UKAI_SANITIZE)
	target_compile_options(ukai_flags INTERFACE
		-fsanitize=${UKAI_SANITIZE} -fno-sanitize-recover=all
		-fno-omit-frame-pointer)
	target_link_options(ukai_flags INTERFACE -fsanitize=${UKAI_SANITIZE})
else()
	# Sanitizers bring their own checks, and fortified calls hide from them.
	target_compile_options(ukai_flags INTERFACE
		$<$<NOT:$<CONFIG:Debug>>:-U_FORTIFY_SOURCE>
		$<$<NOT:$<CONFIG:Debug>>:-D_FORTIFY_SOURCE=2>)
endif()
if(UKAI_FUZZ)
	target_compile_options(ukai_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
target_link_options(ukai_flags INTERFACE -pie -Wl,-z,relro,-z,now)
