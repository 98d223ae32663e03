# Debian packages: `cpack -G DEB` in the build folder makes ukai and ukai-relay.
# install() commands say by COMPONENT, client or relay, what goes where;
# deploy/debian has the maintainer scripts.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_CONTACT "ukai maintainers <maintainers@ukai.example>" CACHE STRING
	"Maintainer of the packages, NAME <ADDRESS>")
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_COMPONENTS_ALL client relay)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_GROUPING IGNORE)
# cpack packs what is built, and does not build the tests first.
set(CMAKE_SKIP_INSTALL_ALL_DEPENDENCY ON)
# /etc/ukai is outside of the prefix, and units name programs by their path.
set(CPACK_SET_DESTDIR ON)
set(CPACK_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_PRE_BUILD_SCRIPTS ${PROJECT_SOURCE_DIR}/deploy/debian/finish.cmake)

set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION net)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)

set(CPACK_COMPONENT_CLIENT_DESCRIPTION
	"WireGuard client for IPv4 over lines that run out of MAP-E ports
Carries an office's IPv4 over IPv6 to a relay, where all ports are free; rules
say which connections go there. On the wire it is WireGuard: it works with
any WireGuard server too.")
set(CPACK_COMPONENT_RELAY_DESCRIPTION
	"WireGuard relay that gives clients a host's IPv4 address
Clients, ukai or any other WireGuard program, reach the IPv4 internet from
this host's address, shared or their own, with published ports.")

foreach(component client relay)
	string(TOUPPER ${component} C)
	if(component STREQUAL client)
		set(package ukai)
	else()
		set(package ukai-relay)
	endif()
	set(CPACK_DEBIAN_${C}_PACKAGE_NAME ${package})
	set(CPACK_DEBIAN_${C}_PACKAGE_CONTROL_EXTRA
		${PROJECT_SOURCE_DIR}/deploy/debian/${package}/postinst
		${PROJECT_SOURCE_DIR}/deploy/debian/${package}/prerm
		${PROJECT_SOURCE_DIR}/deploy/debian/${package}/postrm)
endforeach()
set(CPACK_DEBIAN_RELAY_PACKAGE_SUGGESTS ukai)
# To ask the provisioning server of a MAP-E line, and to know it by.
set(CPACK_DEBIAN_CLIENT_PACKAGE_RECOMMENDS "libcurl4, ca-certificates")
include(CPack)
