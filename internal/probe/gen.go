package probe

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -go-package probe -type sock_desc -type event -type exec_fds -type stack_record -type stack_copy -type walk_step -type walk -type step -type step_limit -type row -type record_kind -type counter -type scope_rule -type comm_rule -type walker -type row_flag -type event_flag -type event_size -type use_op -type row_known bpf ../../bpf/sockleak.bpf.c -- -O2 -g -mcpu=v3 -Wall -Wextra -Werror
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -go-package probe -type use_next uses ../../bpf/uses.bpf.c -- -O2 -g -mcpu=v3 -Wall -Wextra -Werror
