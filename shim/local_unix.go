//go:build unix

package shim

import (
	"context"
	"net"
)

// listen makes a socket in a directory that nobody else can enter. No token is needed there.
func listen(ctx context.Context, path string) (l net.Listener, token string, err error) {
	var config net.ListenConfig
	l, err = config.Listen(ctx, "unix", path)
	return l, "", err
}

func dial(ctx context.Context, path string) (conn net.Conn, token string, err error) {
	var dialer net.Dialer
	conn, err = dialer.DialContext(ctx, "unix", path)
	return conn, "", err
}
