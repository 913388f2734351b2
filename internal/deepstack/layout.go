package deepstack

import (
	"fmt"

	"github.com/cilium/ebpf/btf"
	"go.opentelemetry.io/ebpf-profiler/support"
)

// recordLayout finds the fields that deep_stop uses in the profiler's per-CPU
// record: its layout may change with any version.
func recordLayout() (map[string]any, error) {
	spec, err := support.LoadCollectionSpec()
	if err != nil {
		return nil, fmt.Errorf("read the profiler's programs: %w", err)
	}
	var record *btf.Struct
	if err := spec.Types.TypeByName("PerCPURecord", &record); err != nil {
		return nil, fmt.Errorf("find the profiler's per-CPU record: %w", err)
	}
	values := map[string]any{}
	for name, path := range map[string][]string{
		"cfg_record_length": {"trace", "frame_data_len"},
		"cfg_record_value":  {"trace", "value"},
		"cfg_record_frames": {"trace", "frame_data"},
		"cfg_record_error":  {"state", "unwind_error"},
		"cfg_record_calls":  {"tailCalls"},
		"cfg_record_pc":     {"state", "pc"},
		"cfg_record_file":   {"state", "text_section_id"},
		"cfg_record_offset": {"state", "text_section_offset"},
		"cfg_record_done":   {"unwindersDone"},
	} {
		if values[name], err = offset(record, path); err != nil {
			return nil, err
		}
	}
	return values, nil
}

// offset returns where a field of a field is, in bytes.
func offset(in btf.Type, path []string) (uint32, error) {
	total := uint32(0)
	for _, name := range path {
		m, at, ok := member(in, name)
		if !ok {
			return 0, fmt.Errorf("find %v in %v: no field %s", path, in, name)
		}
		total += at
		in = m.Type
	}
	return total, nil
}

// member finds a field, also of the structs and unions without a name in it.
func member(in btf.Type, name string) (found btf.Member, at uint32, ok bool) {
	var members []btf.Member
	switch t := btf.UnderlyingType(in).(type) {
	case *btf.Struct:
		members = t.Members
	case *btf.Union:
		members = t.Members
	}
	for _, m := range members {
		if m.Name == name {
			return m, m.Offset.Bytes(), true
		}
		if m.Name == "" {
			if found, at, ok := member(m.Type, name); ok {
				return found, m.Offset.Bytes() + at, true
			}
		}
	}
	return btf.Member{}, 0, false
}
