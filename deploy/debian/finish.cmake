# Before CPack packs: what Debian's policy asks for beyond `cmake --install`:
# compressed manual pages (12.1), a copyright file (12.5) and a changelog
# (12.7). CPack runs it once for each package, over all of them.
set(source ${CMAKE_CURRENT_LIST_DIR})
string(TIMESTAMP date "%a, %d %b %Y %H:%M:%S +0000" UTC)

foreach(pair client:ukai relay:ukai-relay)
	string(REPLACE ":" ";" pair ${pair})
	list(GET pair 0 component)
	list(GET pair 1 package)
	set(root ${CPACK_TEMPORARY_DIRECTORY}/${component})
	set(doc ${root}/usr/share/doc/${package})
	if(NOT EXISTS ${root} OR EXISTS ${doc}/copyright)
		continue()
	endif()
	# One page describes both configurations; here it stands alone.
	if(component STREQUAL relay)
		file(COPY_FILE ${source}/../man/ukai.conf.5
			${root}/usr/share/man/man5/relay.conf.5)
	endif()
	file(GLOB pages ${root}/usr/share/man/man?/*.[1-8])
	file(READ ${source}/../../LICENSE license)
	string(REGEX REPLACE "\n$" "" license "${license}")
	file(WRITE ${doc}/copyright
		"Upstream-Name: ukai\nLicense: MIT\n\n${license}\n")
	file(WRITE ${doc}/changelog
		"${package} (${CPACK_PACKAGE_VERSION}) unstable; urgency=medium\n\n"
		"  * Built from source; its history is in the repository.\n\n"
		" -- ${CPACK_PACKAGE_CONTACT}  ${date}\n")
	# Keys are in /etc/ukai. Which tunnels run is only asked.
	file(WRITE ${root}/usr/share/lintian/overrides/${package}
		"${package}: non-standard-dir-perm 0700 != 0755 *etc/ukai/*\n"
		"${package}: maintainer-script-calls-systemctl *postinst*\n")
	execute_process(COMMAND gzip -9nf ${pages} ${doc}/changelog
		COMMAND_ERROR_IS_FATAL ANY)
endforeach()
