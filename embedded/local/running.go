package local

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/statelatch/statelatch/s3/s3model"
)

// Running is what a store leaves in its directory while it runs, for its clients.
type Running struct {
	Endpoint string `json:"endpoint"`         // its URL
	Region   string `json:"region,omitempty"` // that signatures must be for; empty: any
	OwnKeys  bool   `json:"own_keys"`         // the pair is in the CredentialsFile; else the environment gave it
}

// ErrNotRunning is of a directory whose store does not run.
var ErrNotRunning = errors.New("no store is running")

const runningFile = "running.json"

// Write leaves r in the directory.
func (r Running) Write(dir string) error {
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, runningFile), append(body, '\n'), 0o600)
}

// Remove takes r away again, but not what another process wrote meanwhile.
func (r Running) Remove(dir string) {
	if now, err := readRunning(dir); err == nil && now == r {
		_ = os.Remove(filepath.Join(dir, runningFile))
	}
}

// Find reads what the store of the directory left there, and looks whether something listens there: a store that was
// killed leaves it, too.
//
//	ErrNotRunning  nothing does
//	other          the file cannot be read; the next start of the store writes it anew
func Find(ctx context.Context, dir string) (Running, error) {
	r, err := readRunning(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && !r.answers(ctx):
		return Running{}, ErrNotRunning
	case err != nil:
		return Running{}, fmt.Errorf("%s: %w", filepath.Join(dir, runningFile), err)
	}
	return r, nil
}

func readRunning(dir string) (Running, error) {
	var r Running
	body, err := os.ReadFile(filepath.Join(dir, runningFile))
	if err == nil {
		err = json.Unmarshal(body, &r)
	}
	return r, err
}

func (r Running) answers(ctx context.Context) bool {
	u, err := url.Parse(r.Endpoint)
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var conn net.Conn
	if u.Scheme == "https" { // a connection without a handshake would be a warning in the store's log
		conn, err = (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(ctx, "tcp", u.Host) //nolint:gosec // nothing is sent
	} else {
		conn, err = new(net.Dialer).DialContext(ctx, "tcp", u.Host)
	}
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// ClientRegion is the region that clients are told: that of the store, else one that signatures can name.
func ClientRegion(region string) string { return cmp.Or(region, s3model.DefaultRegion) }

// URL is what a client on this machine uses of a store that listens at addr.
func URL(addr net.Addr, encrypted bool) string {
	host, port, _ := net.SplitHostPort(addr.String())
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		if name, err := os.Hostname(); err == nil {
			host = name
		}
	}
	scheme := "http://"
	if encrypted {
		scheme = "https://"
	}
	return scheme + net.JoinHostPort(host, port)
}

// Variable is what a client's environment needs for a store.
type Variable struct {
	Name string // of the variable
	// Value is what it has to be; with Of it is that of another variable, and empty it must not be there.
	Value string
	Of    string // see Value
}

// Environment is what clients of a running store need: terraform, tofu, aws and statelatch alike. Variables that are to
// go are named only where they are there. Without OwnKeys the pair is that of the two variables that keys names.
func (r Running) Environment(dir string, keys [2]string, getenv func(string) string) (env []Variable) {
	without := func(names ...string) {
		for _, name := range names {
			if getenv(name) != "" {
				env = append(env, Variable{Name: name})
			}
		}
	}
	if r.OwnKeys {
		// Keys in the environment would win over the profile, so they go.
		without("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
		env = append(env, Variable{Name: "AWS_SHARED_CREDENTIALS_FILE", Value: filepath.Join(dir, CredentialsFile)},
			Variable{Name: "AWS_PROFILE", Value: Profile})
	} else {
		without("AWS_SESSION_TOKEN", "AWS_PROFILE")
		env = append(env, Variable{Name: "AWS_ACCESS_KEY_ID", Of: keys[0]},
			Variable{Name: "AWS_SECRET_ACCESS_KEY", Of: keys[1]})
	}
	return append(env, Variable{Name: "AWS_ENDPOINT_URL_S3", Value: r.Endpoint},
		Variable{Name: "AWS_REGION", Value: ClientRegion(r.Region)})
}
