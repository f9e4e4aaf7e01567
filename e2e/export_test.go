package e2e

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
)

// A scrape sees an engine's lock; the webhook is told of it once, and once when it is gone.
func TestExport_EngineLock(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	events := make(chan string, 100)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		var m struct{ Event, Text string }
		if err := json.NewDecoder(req.Body).Decode(&m); err != nil {
			t.Error(err)
		}
		events <- m.Event + " " + m.Text
	}))
	t.Cleanup(hook.Close)
	held, _ := r.holder("b")
	r.env["STATELATCH_ALERT_WEBHOOK"] = hook.URL
	p := r.start(r.home, binary, "export", "-listen", "127.0.0.1:0", "-interval", "1s", "-alert-older-than", "1s", "-alert-verdict", "unknown", "s3://terraform-state")
	url := p.waitFor(`Metrics at (\S+/metrics)`)[1]
	if got := httpGet(t, url); !strings.Contains(got, `statelatch_lock_held{key="`+stateKey+`",verdict="unknown",workspace="default"} 1`) ||
		!strings.HasPrefix(got, "200 ") {
		t.Errorf("got %s", got)
	}
	if got := <-events; !strings.HasPrefix(got, "lock_old s3://terraform-state/"+stateKey+" is locked for ") || !strings.Contains(got, "OperationTypeApply") {
		t.Errorf("got %s", got)
	}
	held.say("no")
	held.wait()
	if got := <-events; !strings.HasPrefix(got, "lock_gone ") {
		t.Errorf("got %s", got)
	}
	p.signal(syscall.SIGINT)
	want(t, "export", p.wait(), 0)
	if len(events) > 0 {
		t.Errorf("another message: %s", <-events)
	}
}
