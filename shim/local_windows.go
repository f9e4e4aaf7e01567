package shim

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"os"
	"strings"
)

// listen listens on loopback: sockets in files are newer than some Windows. The file at path says where, with a token
// that only this user can read.
func listen(ctx context.Context, path string) (l net.Listener, token string, err error) {
	var config net.ListenConfig
	if l, err = config.Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
		return nil, "", err
	}
	token = rand.Text()
	if err = os.WriteFile(path, []byte(l.Addr().String()+" "+token), 0o600); err != nil {
		return nil, "", errors.Join(err, l.Close())
	}
	return l, token, nil
}

func dial(ctx context.Context, path string) (conn net.Conn, token string, err error) {
	where, err := os.ReadFile(path)
	if err != nil {
		return nil, "", err
	}
	addr, token, _ := strings.Cut(string(where), " ")
	var dialer net.Dialer
	conn, err = dialer.DialContext(ctx, "tcp", addr)
	return conn, token, err
}
