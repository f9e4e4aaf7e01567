//go:build !windows && !plan9

package audit

import (
	"encoding/json"
	"io"
	"log/syslog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestSyslog_Append(t *testing.T) {
	t.Parallel()
	datagrams, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	local, err := net.ListenPacket("unixgram", filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	stream, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	receive := func(conn net.PacketConn) func() string {
		return func() string {
			_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
			buf := make([]byte, MaxEvent)
			n, _, err := conn.ReadFrom(buf)
			if err != nil {
				t.Error(err)
			}
			return string(buf[:n])
		}
	}
	for name, tc := range map[string]struct {
		network, address string
		receive          func() string
	}{
		"udp":  {"udp", datagrams.LocalAddr().String(), receive(datagrams)},
		"unix": {"unixgram", local.LocalAddr().String(), receive(local)},
		"tcp": {"tcp", stream.Addr().String(), func() string {
			conn, err := stream.Accept()
			if err != nil {
				return err.Error()
			}
			got, _ := io.ReadAll(conn)
			return string(got)
		}},
	} {
		var sink Sink
		if name == "unix" {
			sink, err = newSyslog(tc.network, tc.address)
		} else {
			sink, err = Open("syslog:"+tc.network+"://"+tc.address, nil, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := sink.Append(t.Context(), event("x")); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := tc.receive()
		body := got[max(strings.IndexByte(got, '{'), 0):]
		var e Event
		if err := json.Unmarshal([]byte(body), &e); err != nil || e.ID != "x" || e.Seq != 1 || !strings.HasPrefix(got, "<85>") || !strings.Contains(got, "statelatch[") {
			t.Errorf("%s: got %q, %v; want the event, as authpriv.notice (%d)", name, got, err, syslog.LOG_AUTHPRIV|syslog.LOG_NOTICE)
		}
	}
}
