# The readers that are fuzzed, and replayed by tests/native/fuzz_replay_test.cpp.
set(REHOOK_FUZZ_TARGETS
    allowed_folders build_log class_layout_reader class_layout_set class_layouts cmake_reply
    depfile diagnostics elf_edits elf_image make_rules ninja_deps private_libraries
    project_state store_names type_name)
