package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// runningStore is what "serve" leaves in its data directory while it runs, for "serve -env".
type runningStore struct {
	Endpoint string `json:"endpoint"`
	Region   string `json:"region,omitempty"` // that signatures must be for; empty: any
	OwnKeys  bool   `json:"own_keys"`         // the pair is in the credentials file; else the environment gave it
}

const runningFile = "running.json"

func (r runningStore) write(data string) error {
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(data, runningFile), append(body, '\n'), 0o600); err != nil {
		return fmt.Errorf("data directory -data: %w", err)
	}
	return nil
}

// remove leaves what another process wrote meanwhile; nobody but "serve -env" misses it.
func (r runningStore) remove(data string) {
	if now, err := readRunning(data); err == nil && now == r {
		_ = os.Remove(filepath.Join(data, runningFile))
	}
}

func readRunning(data string) (runningStore, error) {
	var r runningStore
	body, err := os.ReadFile(filepath.Join(data, runningFile))
	if err == nil {
		err = json.Unmarshal(body, &r)
	}
	return r, err
}

// answers says whether something listens where the store did: a store that was killed leaves its file.
func (r runningStore) answers(ctx context.Context) bool {
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

// runServeEnv prints what sets up a shell for a running store. On stdout is nothing but that, and nothing at all on
// failure.
func runServeEnv(ctx context.Context, o serveOptions, term terminal) error {
	var err error
	start := "statelatch serve" + o.dataFlag()
	if o.data, err = o.dataDir(term.Getenv); err != nil {
		return err
	}
	r, err := readRunning(o.data)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !r.answers(ctx) {
		return fmt.Errorf("no store is running on -data %s: start it in another terminal with '%s'", o.data, start)
	}
	if err != nil {
		return fmt.Errorf("%s: %w: start the store again", filepath.Join(o.data, runningFile), err)
	}
	var b strings.Builder
	if r.OwnKeys {
		// Keys in the environment would win over the profile, so they go.
		for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"} {
			if term.Getenv(name) != "" {
				fmt.Fprintf(&b, "unset %s\n", name)
			}
		}
		fmt.Fprintf(&b, "export AWS_SHARED_CREDENTIALS_FILE=%s\nexport AWS_PROFILE=%s\n",
			shellQuote(filepath.Join(o.data, credentialsFile)), credentialsProfile)
	} else {
		if term.Getenv(envAccessKey) == "" || term.Getenv(envSecretKey) == "" {
			return fmt.Errorf("the store on %s was started with %s and %s: export them in this shell too, then run this again",
				o.data, envAccessKey, envSecretKey)
		}
		for _, name := range []string{"AWS_SESSION_TOKEN", "AWS_PROFILE"} {
			if term.Getenv(name) != "" {
				fmt.Fprintf(&b, "unset %s\n", name)
			}
		}
		fmt.Fprintf(&b, "export AWS_ACCESS_KEY_ID=\"$%s\"\nexport AWS_SECRET_ACCESS_KEY=\"$%s\"\n", envAccessKey,
			envSecretKey)
	}
	fmt.Fprintf(&b, "export AWS_ENDPOINT_URL_S3=%s\nexport AWS_REGION=%s\n", shellQuote(r.Endpoint),
		shellQuote(clientRegion(r.Region)))
	term.Print("%s", b.String())
	return nil
}

// envCommand is how a shell is set up for this store: as short as it works there.
func (o serveOptions) envCommand(getenv func(string) string) string {
	program := "statelatch"
	if _, err := exec.LookPath(program); err != nil {
		if self, err := os.Executable(); err == nil {
			program = shellQuote(self)
		}
	}
	if d, err := (serveOptions{}).dataDir(getenv); err == nil && d == o.data {
		return program + " serve -env"
	}
	return program + " serve -env" + o.dataFlag()
}

func (o serveOptions) dataFlag() string {
	if o.data == "" {
		return ""
	}
	return " -data " + shellQuote(o.data)
}
