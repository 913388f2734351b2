package procfs

import (
	"strings"
	"testing"
)

const (
	id1 = "5c7d0e9b4f1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4"
	id2 = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
)

func TestContainer(t *testing.T) {
	const pod = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0d8a1c3e_1f0e_4b5e_9d5c_6a7b8c9d0e1f.slice/"
	for _, test := range []struct{ name, cgroup, want string }{
		{"docker, v2, systemd", "0::/system.slice/docker-ID.scope", id1},
		{"docker, v2, cgroupfs", "0::/docker/ID", id1},
		{"docker, v1", "12:pids:/docker/ID\n1:name=systemd:/docker/ID", id1},
		{"docker, hybrid", "2:cpu,cpuacct:/docker/ID\n1:name=systemd:/docker/ID\n0::/", id1},
		{"docker, rootless", "0::/user.slice/user-1000.slice/user@1000.service/app.slice/docker-ID.scope", id1},
		{"docker, cgroup of a process inside", "0::/system.slice/docker-ID.scope/init", id1},
		{"docker in docker", "0::/docker/OTHER/docker/ID", id1},
		{"kind: a pod in docker", "0::/system.slice/docker-OTHER.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod1.slice/cri-containerd-ID.scope", id1},
		{"seen from another cgroup namespace", "0::/../../docker-ID.scope", id1},
		{"removed", "0::/docker/ID (deleted)", id1},
		{"kubernetes, cgroupfs", "11:memory:/kubepods/burstable/pod0d8a1c3e-1f0e-4b5e-9d5c-6a7b8c9d0e1f/ID", id1},
		{"kubernetes, containerd", "0::" + pod + "cri-containerd-ID.scope", id1},
		{"kubernetes, containerd below its service", "1:name=systemd:/system.slice/containerd.service/kubepods-besteffort-pod1.slice:cri-containerd:ID", id1},
		{"kubernetes, cri-o", "0::" + pod + "crio-ID.scope/container", id1},
		{"cri-o's monitor", "0::" + pod + "crio-conmon-ID.scope", ""},
		{"containerd, nerdctl", "0::/system.slice/nerdctl-ID.scope", id1},
		{"podman", "0::/machine.slice/libpod-ID.scope/container", id1},
		{"podman, rootless, in a pod", "0::/user.slice/user-1000.slice/user@1000.service/user.slice/user-libpod_pod_OTHER.slice/libpod-ID.scope", id1},
		{"podman's monitor", "0::/machine.slice/libpod-conmon-ID.scope", ""},
		{"ecs", "9:cpuset:/ecs/0fb7ad1c-21be-4a62-9cd2-9d8c53b0e0d7/ID", id1},
		{"fargate", "0::/ecs/8a1c0e0f5b2d4c3e9f7a6b5c4d3e2f10/8a1c0e0f5b2d4c3e9f7a6b5c4d3e2f10-2531612879", "8a1c0e0f5b2d4c3e9f7a6b5c4d3e2f10-2531612879"},
		{"lxc", "0::/lxc.payload.web-1/system.slice/nginx.service", "web-1"},
		{"lxc 3", "1:name=systemd:/lxc.payload/web/init.scope", "web"},
		{"lxc 2", "1:name=systemd:/lxc/web", "web"},
		{"lxc, proxmox", "0::/lxc/101/ns/user.slice", "101"},
		{"lxc's monitor", "0::/lxc.monitor.web", ""},
		{"docker in lxc", "0::/lxc.payload.web/system.slice/docker-ID.scope", id1},
		{"nspawn", `0::/machine.slice/machine-my\x2ddebian.scope/payload/init.scope`, "my-debian"},
		{"nspawn, a service", "0::/machine.slice/systemd-nspawn@web.service/payload/system.slice/nginx.service", "web"},
		{"libvirt's emulator", `0::/machine.slice/machine-qemu\x2d1\x2dvm.scope/libvirt/emulator`, ""},
		{"a broken escape", `0::/machine.slice/machine-a\x2.scope`, `a\x2`},
		{"no container: a service", "0::/system.slice/docker.service", ""},
		{"no container: a session", "0::/user.slice/user-1000.slice/session-2.scope", ""},
		{"no container: a slice", "0::/machine.slice", ""},
		{"no container: the root", "0::/", ""},
		{"no container: too short for an id", "0::/docker/" + id1[:63], ""},
		{"no container: not hexadecimal", "0::/docker/" + strings.Repeat("x", 64), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			text := strings.NewReplacer("ID", id1, "OTHER", id2).Replace(test.cgroup)
			fs := literal(t, map[string]string{
				"self@": "1", "4242/stat": statText, "4242/status": statusText, "4242/limits": limitsText,
				"4242/cgroup": text + "\n",
			})
			got, err := fs.Process(4242)
			if err != nil || got.Container != test.want {
				t.Errorf("the container of %q is %q, %v, want %q", text, got.Container, err, test.want)
			}
		})
	}
}
