package casebook

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// A fleet is devices that keep a connection to a gateway, behind a router: in a
// network namespace of their own, at the other end of a wire.
//
//	gateway 10.77.0.1 ── 10.77.0.2, devices 10.77.1.1, 10.77.1.2, ...
type fleet struct {
	t       testing.TB
	devices *Network
	stop    chan struct{}
	running sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn // all, the given up too: no device closes without being told
	cut   bool
}

const (
	gatewayHost = "10.77.0.1"
	gatewayPort = "7000"
	routerMAC   = "02:00:00:00:00:02"
	heartbeat   = time.Second
)

// newFleet makes the network of a gateway and its devices, and puts the case's
// program on the gateway's side. It returns the program's arguments too.
func newFleet(s *Stage, devices int) (*fleet, []string) {
	s.T.Helper()
	gateway := s.Network()
	f := &fleet{t: s.T, devices: newNetwork(s.T), stop: make(chan struct{})}
	gateway.IP("link", "add", "wire0", "type", "veth", "peer", "name", "wire1", "address", routerMAC, "netns", fmt.Sprint(f.devices.pid))
	gateway.IP("address", "add", gatewayHost+"/24", "dev", "wire0")
	gateway.IP("link", "set", "wire0", "up")
	// Else the gateway would learn from ARP that the wire is cut; from behind a
	// router nothing comes.
	gateway.IP("neighbour", "add", "10.77.0.2", "lladdr", routerMAC, "dev", "wire0", "nud", "permanent")
	gateway.IP("route", "add", "10.77.1.0/24", "via", "10.77.0.2")
	f.devices.IP("address", "add", "10.77.0.2/24", "dev", "wire1")
	f.devices.IP("link", "set", "wire1", "up")
	for i := range devices {
		f.devices.IP("address", "add", deviceHost(i)+"/32", "dev", "lo")
	}
	return f, []string{gatewayHost, gatewayPort}
}

func deviceHost(i int) string { return fmt.Sprintf("10.77.1.%d", i+1) }

// launch has the devices started once the gateway is ready. They end before it
// does, so that they don't find it gone.
func (f *fleet) launch(s *Stage, devices func(*Program)) {
	s.Then(func(p *Program) {
		s.T.Cleanup(f.end)
		devices(p)
	})
}

// end ends all devices and closes what they have.
func (f *fleet) end() {
	close(f.stop)
	f.mu.Lock()
	for _, c := range f.conns {
		c.Close()
	}
	f.mu.Unlock()
	f.running.Wait()
}

// run lets a device go on beside the test; what goes wrong fails it.
func (f *fleet) run(device func() error) {
	f.running.Add(1)
	go func() {
		defer f.running.Done()
		if err := device(); err != nil && !f.over() {
			f.t.Errorf("device: %v", err)
		}
	}()
}

// over says that devices can't be expected to work any more.
func (f *fleet) over() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-f.stop:
		return true
	default:
		return f.cut
	}
}

// connect makes a device's connection: it says who it is.
func (f *fleet) connect(i int) (net.Conn, error) {
	var c net.Conn
	err := f.devices.inside(func() (err error) {
		// Keepalive is the gateway's business.
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(deviceHost(i))}, Timeout: patience, KeepAlive: -1}
		c, err = d.Dial("tcp4", net.JoinHostPort(gatewayHost, gatewayPort))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("device %d: %w", i, err)
	}
	f.mu.Lock()
	f.conns = append(f.conns, c)
	f.mu.Unlock()
	f.run(func() error { return drain(c) })
	_, err = fmt.Fprintf(c, "hello %d\n", i)
	return c, err
}

// drain reads what the gateway says, until the connection is closed here or there.
func drain(c net.Conn) error {
	defer c.Close()
	if _, err := io.Copy(io.Discard, c); err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, errReset) {
		return fmt.Errorf("read: %w", err)
	}
	return nil
}

// live is a device's life: heartbeats on one connection after the other, on the
// nth until over tells. How the old one is given up is for the caller.
func (f *fleet) live(i int, give func(net.Conn), over func(n int) <-chan time.Time) error {
	for n := 0; ; n++ {
		c, err := f.connect(i)
		if err != nil {
			return err
		}
		if alive, err := f.beat(c, over(n)); !alive || err != nil {
			return err
		}
		give(c)
	}
}

// beat sends heartbeats until over tells; alive: it wasn't the fleet that ended.
func (f *fleet) beat(c net.Conn, over <-chan time.Time) (alive bool, err error) {
	for {
		select {
		case <-f.stop:
			return false, nil
		case <-over:
			return true, nil
		case <-time.After(heartbeat):
		}
		if _, err := io.WriteString(c, "alive\n"); err != nil {
			return true, fmt.Errorf("heartbeat to %v: %w", c.RemoteAddr(), err)
		}
	}
}

// always is the time of a device that never gives up its connection.
func always(int) <-chan time.Time { return nil }

// unplug cuts the wire: no packet arrives any more, and nobody is told.
func (f *fleet) unplug() {
	f.mu.Lock()
	f.cut = true
	f.mu.Unlock()
	f.devices.IP("link", "set", "wire1", "down")
}
