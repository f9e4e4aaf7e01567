package shim

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

// tokenTime is how long a client may take to show its token.
const tokenTime = 5 * time.Second

// listen answers on loopback, for not every Windows has sockets with paths. The file at path says where, and has the token without
// which nothing is answered: only who may read it is the user.
func listen(ctx context.Context, path string) (net.Listener, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	token := rand.Text()
	if err := os.WriteFile(path, []byte(listener.Addr().String()+"\n"+token), 0o600); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return tokenListener{listener, token}, nil
}

func dial(ctx context.Context, path string) (net.Conn, error) {
	where, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	address, token, _ := strings.Cut(string(where), "\n")
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(conn, token); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

type tokenListener struct {
	net.Listener
	token string
}

func (l tokenListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &tokenConn{Conn: conn, token: l.token}, nil
}

// tokenConn reads nothing before the token. It has one reader at a time.
type tokenConn struct {
	net.Conn
	token string // empty once it was shown
}

func (c *tokenConn) Read(p []byte) (int, error) {
	if c.token != "" {
		shown := make([]byte, len(c.token))
		_ = c.SetReadDeadline(time.Now().Add(tokenTime))
		if _, err := io.ReadFull(c.Conn, shown); err != nil {
			return 0, err
		}
		if subtle.ConstantTimeCompare(shown, []byte(c.token)) != 1 {
			return 0, os.ErrPermission
		}
		_ = c.SetReadDeadline(time.Time{})
		c.token = ""
	}
	return c.Conn.Read(p)
}
