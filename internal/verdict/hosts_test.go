package verdict

import (
	"slices"
	"testing"

	"sockleak/internal/event"
)

func TestNameHosts(t *testing.T) {
	peers := []Peer{{Address: "192.0.2.7:443", Count: 3}, {Address: "192.0.2.8:443", Count: 2}, {Address: "/run/app.sock", Count: 1}}
	want := slices.Clone(peers)
	want[0].Name = "seven"
	nameHosts(peers, event.ProcessKey{PID: app}, fakeNames{})
	if !slices.Equal(peers, want) {
		t.Errorf("the peers are %+v, want %+v", peers, want)
	}
}
