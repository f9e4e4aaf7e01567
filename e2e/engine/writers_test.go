package engine

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

	"github.com/statelatch/statelatch/e2e/internal/rig"
	"github.com/statelatch/statelatch/internal/faultproxy"
)

// Four terraform and four statelatch writers increment one state, each many times. The terraform ones are under
// "statelatch run", which holds the lock for them. The network loses and delays what we send and are sent; what the
// engines send it leaves alone, because nobody can mend that. No update is lost and no lock is left.
func TestWriters_NoUpdateLost(t *testing.T) {
	t.Parallel()
	rounds := 2
	if rig.Full() {
		rounds = 6
	}
	r := rig.NewWorkdir(t, "")
	proxy := rig.StartProxy(t, r.Server.URL)
	r.Reconfigure(proxy.URL)
	r.Env["AWS_ENDPOINT_URL_S3"] = proxy.URL
	updates := `
variable "seen" { default = "" }
variable "me" { default = "first" }
output "updates" { value = "${var.seen}${var.me};" }
`
	r.Write(filepath.Join(r.Dir, "updates.tf"), updates)
	r.TF(rig.Apply...)

	var mu sync.Mutex
	n := 0
	every := func(k, offset int) func(*http.Request) bool {
		return func(req *http.Request) bool {
			if rig.ByEngine(req) {
				return false
			}
			mu.Lock()
			defer mu.Unlock()
			n++
			return n%k == offset
		}
	}
	proxy.Add(
		faultproxy.Rule{Match: every(17, 3), Fault: faultproxy.LoseReply()},
		faultproxy.Rule{Match: every(19, 5), Fault: faultproxy.AnswerAfter(500, "InternalError")},
		faultproxy.Rule{Match: every(23, 7), Fault: faultproxy.LoseRequest()},
		faultproxy.Rule{Match: every(29, 11), Fault: faultproxy.Answer(503, "SlowDown")},
		faultproxy.Rule{Match: every(13, 1), Fault: faultproxy.DelayReply(300 * time.Millisecond)},
	)

	script := fmt.Sprintf("seen=$(%s output -raw updates) && exec %[1]s apply -input=false -no-color -auto-approve -var seen=\"$seen\" -var me=\"$0\"", filepath.Base(r.Terraform))
	var writers sync.WaitGroup
	for i := range 4 {
		dir := r.Project(strings.ReplaceAll(strings.Replace(r.Server.Block, "example/terraform.tfstate", rig.StateKey, 1), r.Server.URL, proxy.URL))
		r.Write(filepath.Join(dir, "updates.tf"), updates)
		r.Must(dir, r.Terraform, "init", "-input=false", "-no-color")
		writers.Go(func() {
			for round := range rounds {
				got := r.Run(dir, rig.Binary, "run", "-lock-timeout", "10m", "--", "sh", "-c", script, fmt.Sprintf("t%d.%d", i, round))
				if got.Code != 0 {
					t.Errorf("terraform writer: %v", got)
				}
			}
		})
	}
	for i := range 4 {
		writers.Go(func() {
			for round := range rounds {
				increment(r, fmt.Sprintf("s%d.%d", i, round))
			}
		})
	}
	writers.Wait()
	proxy.Heal()
	state := r.Statelatch("pull", r.Ref).Stdout
	for i := range 4 {
		for round := range rounds {
			for _, name := range []string{"t", "s"} {
				if id := fmt.Sprintf("%s%d.%d", name, i, round); !strings.Contains(state, id+";") {
					t.Errorf("the update %s is lost: %s", id, state)
				}
			}
		}
	}
	r.WantFree()
}

// increment adds one update by pull and push, again until nobody was faster.
func increment(r *rig.Workdir, update string) {
	for range 1000 {
		pulled := r.Statelatch("pull", r.Ref)
		var state map[string]any
		if err := json.Unmarshal([]byte(pulled.Stdout), &state); err != nil {
			r.T.Errorf("pull: %v: %v", err, pulled)
			return
		}
		state["serial"] = state["serial"].(float64) + 1
		output := state["outputs"].(map[string]any)["updates"].(map[string]any)
		output["value"] = output["value"].(string) + update + ";"
		next, err := json.Marshal(state)
		if err != nil {
			r.T.Error(err)
			return
		}
		file := filepath.Join(r.Home, update+".tfstate")
		if err := os.WriteFile(file, next, 0o600); err != nil {
			r.T.Error(err)
			return
		}
		pushed := r.Statelatch("push", "-lock-timeout", "10m", file, r.Ref)
		switch {
		case pushed.Code == 0:
			return
		case pushed.Code == 2 && strings.Contains(pushed.Stderr, "serial"): // somebody wrote since the pull
		default:
			r.T.Errorf("push: %v", pushed)
			return
		}
	}
	r.T.Errorf("update %s: no push in 1000 was the first", update)
}
