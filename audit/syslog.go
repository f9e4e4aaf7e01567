//go:build !windows && !plan9

package audit

import (
	"context"
	"fmt"
	"log/syslog"
)

// syslogSink sends every event as one message.
type syslogSink struct {
	network, address string // empty: the local daemon
	chain            processChain
}

func newSyslog(network, address string, keys ...[]byte) (Sink, error) {
	return &syslogSink{network: network, address: address, chain: processChain{keys: keys}}, nil
}

// String is the location.
func (s *syslogSink) String() string {
	if s.network == "" {
		return "syslog:"
	}
	return "syslog:" + s.network + "://" + s.address
}

// Append sends e with the facility authpriv and the severity notice. That a daemon has it is known of none, that one
// got it only of local sockets and tcp. What hangs is left behind when ctx ends, and may be sent yet.
func (s *syslogSink) Append(ctx context.Context, e Event) error {
	raw := s.chain.next(e)
	done := make(chan error, 1)
	go func() {
		// Dialled anew for every event: there are few, and a connection that has gone stale would swallow one.
		w, err := syslog.Dial(s.network, s.address, syslog.LOG_AUTHPRIV|syslog.LOG_NOTICE, "statelatch")
		if err == nil {
			_, err = w.Write(raw)
			_ = w.Close()
		}
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("audit log %s: %w", s, err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("audit log %s: %w", s, context.Cause(ctx))
	}
}
