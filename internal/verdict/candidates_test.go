package verdict

import (
	"net/netip"
	"slices"
	"testing"

	"sockleak/internal/event"
	"sockleak/internal/lifecycle"
)

// What is looked up is what comparing each with each would find.
func TestCandidatesFit(t *testing.T) {
	at := netip.AddrPortFrom(local.Addr(), 80)
	var all []member
	for _, kind := range []event.Sock{tcp(), inet6(tcp()), udp()} {
		for _, state := range []uint8{event.StateEstablished, event.StateClose} {
			for _, how := range []lifecycle.Creation{lifecycle.ByUnknown, lifecycle.BySocket, lifecycle.ByAccept} {
				for _, ends := range [][2]netip.AddrPort{{}, {at}, {at, server}, {{}, server}, {local, other}} {
					m := member{looks: looksNeeded, ripe: true}
					m.Sock, m.Kind, m.Birth = kind, how, uint64(how)
					m.Sock.State, m.Sock.Local, m.Sock.Remote = state, ends[0], ends[1]
					all = append(all, m)
				}
			}
		}
	}
	w := newWorld(t)
	w.look()
	among := map[groupKey][]member{}
	for i, m := range all {
		key := groupKey{originKey: originKey{process: process(uint32(1 + i%2)), stack: uint64(7 + i%20)}, class: []Class{Dead, PeerClosed}[i%2]}
		among[key] = append(among[key], m)
	}
	like := w.judge.candidates(among, func(m *member) bool { return m.Sock.Family != afInet6 })
	for _, m := range all {
		for _, p := range []event.ProcessKey{process(1), process(2), process(3)} {
			for _, class := range []Class{Dead, PeerClosed, Abandoned} {
				key := groupKey{originKey: originKey{process: p}, class: class, label: w.judge.labelOf(&m.Socket, p)}
				var want []uint64
				for other, members := range among {
					if other.process == p && other.class == class && slices.ContainsFunc(members, func(m member) bool {
						return m.Sock.Family != afInet6 && key.label.fits(w.judge.labelOf(&m.Socket, p))
					}) {
						want = append(want, other.stack)
					}
				}
				var got []uint64
				for _, k := range like.of(key) {
					got = append(got, k.stack)
				}
				slices.Sort(got)
				slices.Sort(want)
				if !slices.Equal(got, want) {
					t.Errorf("%+v: stacks %v, want %v", key, got, want)
				}
			}
		}
	}
}
