# libipsec-mb, Intel's multi-buffer library: a faster bulk cipher on x86-64.
#   UKAI_IPSEC_MB   use it; ON where it is found
# Defines the target ukai_ipsec_mb when it is on. Version 1.3 has no .pc file.
include(CheckCSourceCompiles)

pkg_check_modules(IPSEC_MB QUIET IMPORTED_TARGET libIPSec_MB)
find_path(IPSEC_MB_INCLUDE_DIR intel-ipsec-mb.h HINTS ${IPSEC_MB_INCLUDE_DIRS})
find_library(IPSEC_MB_LIBRARY IPSec_MB HINTS ${IPSEC_MB_LIBRARY_DIRS})
mark_as_advanced(IPSEC_MB_INCLUDE_DIR IPSEC_MB_LIBRARY)

# The processor and the version in one question.
set(usable FALSE)
if(IPSEC_MB_INCLUDE_DIR AND IPSEC_MB_LIBRARY)
	set(CMAKE_REQUIRED_INCLUDES ${IPSEC_MB_INCLUDE_DIR})
	check_c_source_compiles("
		#include <intel-ipsec-mb.h>
		#if !defined(__x86_64__) || IMB_VERSION_NUM < IMB_VERSION(1, 3, 0)
		#error not here
		#endif
		int main(void) { return 0; }" UKAI_IPSEC_MB_USABLE)
	unset(CMAKE_REQUIRED_INCLUDES)
	set(usable ${UKAI_IPSEC_MB_USABLE})
endif()

option(UKAI_IPSEC_MB "Use libipsec-mb for the bulk cipher" ${usable})
if(UKAI_IPSEC_MB AND NOT usable)
	message(FATAL_ERROR "UKAI_IPSEC_MB needs libipsec-mb-dev 1.3, on x86-64")
endif()
if(UKAI_IPSEC_MB)
	add_library(ukai_ipsec_mb INTERFACE)
	target_include_directories(ukai_ipsec_mb SYSTEM INTERFACE
		${IPSEC_MB_INCLUDE_DIR})
	target_link_libraries(ukai_ipsec_mb INTERFACE ${IPSEC_MB_LIBRARY})
endif()
