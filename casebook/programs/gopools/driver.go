package main

import (
	"bufio"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
)

// lines is a database/sql driver for a "database" that answers a line to each
// line. Only Ping is of use.
type lines struct{ address string }

func (l lines) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", l.address)
	if err != nil {
		return nil, fmt.Errorf("connect to the database: %w", err)
	}
	return &session{conn, bufio.NewReader(conn)}, nil
}

func (l lines) Driver() driver.Driver { return nil }

type session struct {
	conn   net.Conn
	answer *bufio.Reader
}

func (s *session) Ping(context.Context) error {
	if _, err := s.conn.Write([]byte("ping\n")); err != nil {
		return fmt.Errorf("ask the database: %w", err)
	}
	if _, err := s.answer.ReadString('\n'); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	return nil
}

func (s *session) Close() error { return s.conn.Close() }

var errPingOnly = errors.New("this database can only be pinged")

func (s *session) Prepare(string) (driver.Stmt, error) { return nil, errPingOnly }
func (s *session) Begin() (driver.Tx, error)           { return nil, errPingOnly }
