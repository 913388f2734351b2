package procfs

import (
	"strconv"
	"strings"
)

// containerOf returns the id of the innermost container that a cgroup's path
// leads into, as its engine knows it: 64 hexadecimal digits, or the name that
// LXC and systemd-nspawn use. Empty: none that is known.
//
// The kernel knows no containers. What there is are the names that engines give
// to cgroups, with the cgroupfs driver and with systemd's:
//
//	/docker/ID                                             Docker
//	/system.slice/docker-ID.scope
//	/kubepods/burstable/podUID/ID                          Kubernetes, any engine
//	/kubepods.slice/.../cri-containerd-ID.scope            containerd
//	/system.slice/containerd.service/...:cri-containerd:ID
//	/kubepods.slice/.../crio-ID.scope/container            CRI-O
//	/machine.slice/libpod-ID.scope/container               Podman
//	/ecs/TASK/TASKID-NUMBER                                AWS Fargate
//	/lxc.payload.NAME, /lxc.payload/NAME, /lxc/NAME        LXC
//	/machine.slice/machine-NAME.scope/payload              systemd-nspawn
//	/machine.slice/systemd-nspawn@NAME.service/payload
func containerOf(path string) string {
	segments := strings.Split(strings.TrimSuffix(path, " (deleted)"), "/")
	for i := len(segments) - 1; i > 0; i-- {
		if id := containerName(segments[:i+1]); id != "" {
			return id
		}
	}
	return ""
}

// containerName returns the container that the last segment of a path is of.
func containerName(path []string) string {
	name, parent := path[len(path)-1], path[len(path)-2]
	if id := engineID(name); id != "" {
		return id
	}
	if parent == "lxc" || parent == "lxc.payload" {
		return name
	}
	if payload, ok := strings.CutPrefix(name, "lxc.payload."); ok {
		return payload
	}
	if parent == "machine.slice" {
		return machine(name)
	}
	return ""
}

// engineID returns the id in ID, ENGINE-ID.scope and SLICE:ENGINE:ID.
func engineID(name string) string {
	id := strings.TrimSuffix(name, ".scope")
	if fargateID(id) {
		return id
	}
	engine := ""
	if i := strings.LastIndexAny(id, "-:"); i >= 0 {
		engine, id = id[:i], id[i+1:]
	}
	// conmon looks after a container from outside of it.
	if len(id) != 64 || !digits(id, 16) || strings.HasSuffix(engine, "conmon") {
		return ""
	}
	return id
}

func fargateID(s string) bool {
	task, number, ok := strings.Cut(s, "-")
	return ok && len(task) == 32 && digits(task, 16) && len(number) >= 8 && len(number) <= 10 && digits(number, 10)
}

func digits(s string, base int) bool {
	for _, c := range s {
		if (c < '0' || c > '9') && (base != 16 || c < 'a' || c > 'f') {
			return false
		}
	}
	return s != ""
}

// machine returns the name of a machine of systemd-machined(8), except of a
// virtual one: the emulator's process does not run inside it.
func machine(unit string) string {
	name, ok := strings.CutPrefix(unit, "machine-")
	name, scope := strings.CutSuffix(name, ".scope")
	if !ok || !scope {
		name, ok = strings.CutPrefix(unit, "systemd-nspawn@")
		name, scope = strings.CutSuffix(name, ".service")
	}
	if name = unescape(name); !ok || !scope || strings.HasPrefix(name, "qemu-") {
		return ""
	}
	return name
}

// unescape is systemd-escape(1) --unescape: \x2d stands for "-".
func unescape(s string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, `\x`)
		b.WriteString(before)
		if !found {
			return b.String()
		}
		c, err := strconv.ParseUint(after[:min(2, len(after))], 16, 8)
		if err != nil || len(after) < 2 {
			b.WriteString(`\x`)
			s = after
			continue
		}
		b.WriteByte(byte(c))
		s = after[2:]
	}
}
