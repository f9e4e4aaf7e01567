package engine

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"

	"github.com/statelatch/statelatch/e2e/internal/rig"
)

// A scrape sees an engine's lock; the webhook is told of it once, and once when it is gone.
func TestExport_EngineLock(t *testing.T) {
	t.Parallel()
	r := rig.NewWorkdir(t, "")
	events := make(chan string, 100)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		var m struct{ Event, Text string }
		if err := json.NewDecoder(req.Body).Decode(&m); err != nil {
			t.Error(err)
		}
		events <- m.Event + " " + m.Text
	}))
	t.Cleanup(hook.Close)
	held, _ := r.Holder("b")
	r.Env["STATELATCH_ALERT_WEBHOOK"] = hook.URL
	p := r.Start(r.Home, rig.Binary, "export", "-listen", "127.0.0.1:0", "-interval", "1s", "-alert-older-than", "1s", "-alert-verdict", "unknown", "s3://terraform-state")
	url := p.WaitFor(`Metrics at (\S+/metrics)`)[1]
	if got := rig.HTTPGet(t, url); !strings.Contains(got, `statelatch_lock_held{key="`+rig.StateKey+`",verdict="unknown",workspace="default"} 1`) ||
		!strings.HasPrefix(got, "200 ") {
		t.Errorf("got %s", got)
	}
	if got := <-events; !strings.HasPrefix(got, "lock_old s3://terraform-state/"+rig.StateKey+" is locked for ") || !strings.Contains(got, "OperationTypeApply") {
		t.Errorf("got %s", got)
	}
	held.Say("no")
	held.Wait()
	if got := <-events; !strings.HasPrefix(got, "lock_gone ") {
		t.Errorf("got %s", got)
	}
	p.Signal(syscall.SIGINT)
	rig.Want(t, "export", p.Wait(), 0)
	if len(events) > 0 {
		t.Errorf("another message: %s", <-events)
	}
}
