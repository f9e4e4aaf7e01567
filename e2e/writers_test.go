package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/statelatch/statelatch/internal/faultproxy"
)

// Four terraform and four statelatch writers increment one state, each many times. The terraform ones are under
// "statelatch run", which holds the lock for them. The network loses and delays what we send and are sent; what the
// engines send it leaves alone, because nobody can mend that. No update is lost and no lock is left.
func TestWriters_NoUpdateLost(t *testing.T) {
	t.Parallel()
	rounds := 2
	if full() {
		rounds = 6
	}
	r := newRig(t, "")
	proxy := startProxy(t, r.server.url)
	r.reconfigure(proxy.URL)
	r.env["AWS_ENDPOINT_URL_S3"] = proxy.URL
	updates := `
variable "seen" { default = "" }
variable "me" { default = "first" }
output "updates" { value = "${var.seen}${var.me};" }
`
	r.write(filepath.Join(r.dir, "updates.tf"), updates)
	r.tf(apply...)

	var mu sync.Mutex
	n := 0
	every := func(k, offset int) func(*http.Request) bool {
		return func(req *http.Request) bool {
			if byEngine(req) {
				return false
			}
			mu.Lock()
			defer mu.Unlock()
			n++
			return n%k == offset
		}
	}
	proxy.Add(
		faultproxy.Rule{Match: every(17, 3), Fault: faultproxy.DropReply()},
		faultproxy.Rule{Match: every(19, 5), Fault: faultproxy.ReplyWith(500, "InternalError")},
		faultproxy.Rule{Match: every(23, 7), Fault: faultproxy.DropRequest()},
		faultproxy.Rule{Match: every(29, 11), Fault: faultproxy.Answer(503, "SlowDown")},
		faultproxy.Rule{Match: every(13, 1), Fault: faultproxy.DelayReply(300 * time.Millisecond)},
	)

	script := fmt.Sprintf("seen=$(%s output -raw updates) && exec %[1]s apply -input=false -no-color -auto-approve -var seen=\"$seen\" -var me=\"$0\"", filepath.Base(r.terraform))
	var writers sync.WaitGroup
	for i := range 4 {
		dir := r.project(strings.ReplaceAll(strings.Replace(r.server.block, "example/terraform.tfstate", stateKey, 1), r.server.url, proxy.URL))
		r.write(filepath.Join(dir, "updates.tf"), updates)
		r.must(dir, r.terraform, "init", "-input=false", "-no-color")
		writers.Go(func() {
			for round := range rounds {
				got := r.run(dir, binary, "run", "-lock-timeout", "10m", "--", "sh", "-c", script, fmt.Sprintf("t%d.%d", i, round))
				if got.code != 0 {
					t.Errorf("terraform writer: %v", got)
				}
			}
		})
	}
	for i := range 4 {
		writers.Go(func() {
			for round := range rounds {
				r.increment(fmt.Sprintf("s%d.%d", i, round))
			}
		})
	}
	writers.Wait()
	proxy.Heal()
	state := r.statelatch("pull", r.ref).stdout
	for i := range 4 {
		for round := range rounds {
			for _, name := range []string{"t", "s"} {
				if id := fmt.Sprintf("%s%d.%d", name, i, round); !strings.Contains(state, id+";") {
					t.Errorf("the update %s is lost: %s", id, state)
				}
			}
		}
	}
	r.wantFree()
}

// increment adds one update by pull and push, again until nobody was faster.
func (r *rig) increment(update string) {
	for range 1000 {
		pulled := r.statelatch("pull", r.ref)
		var state map[string]any
		if err := json.Unmarshal([]byte(pulled.stdout), &state); err != nil {
			r.t.Errorf("pull: %v: %v", err, pulled)
			return
		}
		state["serial"] = state["serial"].(float64) + 1
		output := state["outputs"].(map[string]any)["updates"].(map[string]any)
		output["value"] = output["value"].(string) + update + ";"
		next, err := json.Marshal(state)
		if err != nil {
			r.t.Error(err)
			return
		}
		file := filepath.Join(r.home, update+".tfstate")
		if err := os.WriteFile(file, next, 0o600); err != nil {
			r.t.Error(err)
			return
		}
		pushed := r.statelatch("push", "-lock-timeout", "10m", file, r.ref)
		switch {
		case pushed.code == 0:
			return
		case pushed.code == 2 && strings.Contains(pushed.stderr, "serial"): // somebody wrote since the pull
		default:
			r.t.Errorf("push: %v", pushed)
			return
		}
	}
	r.t.Errorf("update %s: no push in 1000 was the first", update)
}
