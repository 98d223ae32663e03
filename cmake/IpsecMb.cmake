# libipsec-mb, Intel's multi-buffer library: a faster bulk cipher on x86-64.
#   UKAI_IPSEC_MB   AUTO: use it where it is found, looked for each time that
#                   the build is configured; ON: or fail; OFF: never
# From here on UKAI_IPSEC_MB is true or false. When it is true there is a target
# ukai_ipsec_mb. Version 1.3 has no .pc file.
include(CheckCSourceCompiles)

set(UKAI_IPSEC_MB AUTO CACHE STRING
	"Use libipsec-mb for the bulk cipher: AUTO, ON, OFF")
set_property(CACHE UKAI_IPSEC_MB PROPERTY STRINGS AUTO ON OFF)

pkg_check_modules(IPSEC_MB QUIET IMPORTED_TARGET libIPSec_MB)
find_path(IPSEC_MB_INCLUDE_DIR intel-ipsec-mb.h HINTS ${IPSEC_MB_INCLUDE_DIRS})
find_library(IPSEC_MB_LIBRARY IPSec_MB HINTS ${IPSEC_MB_LIBRARY_DIRS})
mark_as_advanced(IPSEC_MB_INCLUDE_DIR IPSEC_MB_LIBRARY)

# The processor and the version in one question, asked again each time: the
# library may have come, gone or changed since.
set(usable FALSE)
if(UKAI_IPSEC_MB AND IPSEC_MB_INCLUDE_DIR AND IPSEC_MB_LIBRARY)
	unset(UKAI_IPSEC_MB_USABLE CACHE)
	set(CMAKE_REQUIRED_QUIET TRUE)
	set(CMAKE_REQUIRED_INCLUDES ${IPSEC_MB_INCLUDE_DIR})
	set(CMAKE_REQUIRED_LIBRARIES ${IPSEC_MB_LIBRARY})
	check_c_source_compiles("
		#include <intel-ipsec-mb.h>
		#if !defined(__x86_64__) || IMB_VERSION_NUM < IMB_VERSION(1, 3, 0)
		#error not here
		#endif
		int main(void) { return 0; }" UKAI_IPSEC_MB_USABLE)
	unset(CMAKE_REQUIRED_LIBRARIES)
	unset(CMAKE_REQUIRED_INCLUDES)
	unset(CMAKE_REQUIRED_QUIET)
	set(usable ${UKAI_IPSEC_MB_USABLE})
endif()

if(UKAI_IPSEC_MB STREQUAL "AUTO")
	set(UKAI_IPSEC_MB ${usable})
elseif(UKAI_IPSEC_MB AND NOT usable)
	message(FATAL_ERROR "UKAI_IPSEC_MB needs libipsec-mb-dev 1.3, on x86-64")
endif()
if(UKAI_IPSEC_MB)
	message(STATUS "Bulk cipher: libipsec-mb where the processor has AVX2, "
		"else OpenSSL")
	add_library(ukai_ipsec_mb INTERFACE)
	target_include_directories(ukai_ipsec_mb SYSTEM INTERFACE
		${IPSEC_MB_INCLUDE_DIR})
	target_link_libraries(ukai_ipsec_mb INTERFACE ${IPSEC_MB_LIBRARY})
else()
	message(STATUS "Bulk cipher: OpenSSL alone")
endif()
