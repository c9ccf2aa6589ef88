# Install: library, headers, command, man page, CMake package, pkg-config file, licence, and the
# bill of materials.
include(CMakePackageConfigHelpers)

install(TARGETS heddle EXPORT heddle-targets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/src/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/heddle
  FILES_MATCHING PATTERN "*.h" PATTERN "*_internal.h" EXCLUDE REGEX "attention/cuda" EXCLUDE)
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE ${PROJECT_SOURCE_DIR}/CHANGELOG.md
  DESTINATION ${CMAKE_INSTALL_DOCDIR})

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/heddle)
install(EXPORT heddle-targets NAMESPACE heddle:: DESTINATION ${package_dir})
configure_package_config_file(${PROJECT_SOURCE_DIR}/packaging/heddle-config.cmake.in
  ${PROJECT_BINARY_DIR}/packaging/heddle-config.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/packaging/heddle-config-version.cmake
  COMPATIBILITY SameMinorVersion)
# Relative to the .pc file, so that an install can be moved.
file(RELATIVE_PATH pc_prefix /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
configure_file(${PROJECT_SOURCE_DIR}/packaging/heddle.pc.in
  ${PROJECT_BINARY_DIR}/packaging/heddle.pc @ONLY)
install(FILES
  ${PROJECT_BINARY_DIR}/packaging/heddle-config.cmake
  ${PROJECT_BINARY_DIR}/packaging/heddle-config-version.cmake
  DESTINATION ${package_dir})
install(FILES ${PROJECT_BINARY_DIR}/packaging/heddle.pc
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

if(TARGET heddle_cli)
  install(TARGETS heddle_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  if(NOT HEDDLE_ATTENTION_ONLY)
    install(DIRECTORY ${PROJECT_SOURCE_DIR}/models DESTINATION ${CMAKE_INSTALL_DATADIR}/heddle)
  endif()
endif()

# The man page and the bill of materials are written by small scripts.
find_package(Python3 COMPONENTS Interpreter)
if(NOT Python3_Interpreter_FOUND)
  message(STATUS "python3 not found: the man page and the bill of materials are left out")
  return()
endif()

set(sbom ${PROJECT_BINARY_DIR}/packaging/heddle.spdx.json)
set(sbom_script ${PROJECT_SOURCE_DIR}/tools/sbom.py)
set(built_parts)
if(HEDDLE_CUDA_FOUND)
  list(APPEND built_parts --cuda ${CUDAToolkit_VERSION})
endif()
list(APPEND built_parts --parts)
if(NOT HEDDLE_ATTENTION_ONLY)
  list(APPEND built_parts models)
endif()
if("serve" IN_LIST HEDDLE_MODULES)
  list(APPEND built_parts serve)
endif()
add_custom_command(OUTPUT ${sbom} DEPENDS ${sbom_script}
  COMMAND ${Python3_EXECUTABLE} ${sbom_script} --version ${PROJECT_VERSION} ${built_parts} --output ${sbom}
  COMMENT "Writing the bill of materials" VERBATIM)
add_custom_target(heddle_sbom ALL DEPENDS ${sbom})
install(FILES ${sbom} DESTINATION ${CMAKE_INSTALL_DOCDIR})

if(TARGET heddle_cli)
  set(man_page ${PROJECT_BINARY_DIR}/packaging/heddle.1)
  set(man_script ${PROJECT_SOURCE_DIR}/tools/make_man.py)
  add_custom_command(OUTPUT ${man_page} DEPENDS heddle_cli ${man_script}
    COMMAND ${Python3_EXECUTABLE} ${man_script} --version ${PROJECT_VERSION}
      --output ${man_page} $<TARGET_FILE:heddle_cli>
    COMMENT "Writing the man page" VERBATIM)
  add_custom_target(heddle_man ALL DEPENDS ${man_page})
  install(FILES ${man_page} DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
endif()
