package migrate

import (
	"strings"
	"testing"

	"github.com/statelatch/statelatch/e2e/internal/rig"
	"github.com/statelatch/statelatch/internal/faultproxy"
	"github.com/statelatch/statelatch/internal/policytest"
)

// behindSteps are command lines behind a gateway, and the exit codes that they end with. ID is that of the last lock.
var behindSteps = []struct {
	code int
	line string
}{
	{0, "terraform init -input=false -no-color"},
	{0, "terraform apply -auto-approve -no-color -var chunks=780"}, // in parts
	{0, "terraform apply -auto-approve -no-color"},
	{0, "terraform plan -no-color"},
	{0, "statelatch lock"}, // the first one probes the store
	{1, "terraform plan -no-color"},
	{0, "terraform force-unlock -force ID"},
	{0, "statelatch run -- terraform apply -auto-approve -no-color -var value=b"},
	{1, "statelatch run -- sh errored.sh"},
	{0, "statelatch history"},
	{0, "statelatch diff previous"},
	{0, "statelatch rollback -force -auto-approve previous"},
	{0, "statelatch locks s3://terraform-state/app"},
	{0, "terraform workspace new staging"},
	{0, "terraform apply -auto-approve -no-color"},
	{0, "terraform destroy -auto-approve -no-color"},
	{0, "terraform workspace list"},
	{0, "statelatch states -headers -versions -anomalies s3://terraform-state/app"},
	{0, "terraform workspace select default"},
	{0, "terraform workspace delete staging"},
	{0, "statelatch probe -clients 2 -rounds 1"},
}

// Everything that a gateway sends to the bucket, for engines and our own commands behind it, the policy of its role
// allows, of a prefix or of the whole bucket, and nothing in it is there for nothing.
func TestPolicy_CoversTheCallsOfAGateway(t *testing.T) {
	t.Parallel()
	w := rig.NewWorld(t)
	terraform := rig.Need(t, rig.Engine())
	store := w.Serve()
	wire, err := faultproxy.Start(store.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = wire.Close() })
	pair := w.File("op.key", "[default]\naws_access_key_id = KEYOFOP000000000000\naws_secret_access_key = secretofopthatissecretofopthatis\n")
	rules := w.File("rules.hcl", "key \"op\" { file = \"op.key\" }\nallow \"operators\" {\n  keys   = [\"op\"]\n  states = [\"*\"]\n  may    = [\"admin\"]\n}\n")
	gateway := w.Start(w.Home, rig.Binary, "serve", "-store", "s3://terraform-state", "-config", rules, "-endpoint", wire.URL, "-addr", "127.0.0.1:0")
	url := gateway.WaitFor(`at (http://\S+)`)[1]

	behind := rig.NewWorld(t)
	delete(behind.Env, "STATELATCH_PROBE")
	behind.Env["AWS_SHARED_CREDENTIALS_FILE"], behind.Env["AWS_ENDPOINT_URL_S3"] = pair, url
	r := &recorder{Workdir: &rig.Workdir{World: behind, Terraform: terraform}}
	r.Dir = behind.Project(strings.NewReplacer("example/terraform.tfstate", rig.StateKey, store.URL, url).Replace(store.Block))
	r.write()

	policies := map[string]*policytest.Policy{}
	for name, target := range map[string]string{"prefix": "s3://terraform-state/app", "bucket": "s3://terraform-state"} {
		res := w.Statelatch("policy", "-role", "gateway", target)
		if policies[name], err = policytest.Parse([]byte(res.Stdout)); err != nil {
			t.Fatalf("%v: %v", err, res)
		}
	}
	seen := 0
	for _, s := range behindSteps {
		r.do(t, roleStep{"gateway", s.code, s.line})
		all := wire.Requests()
		for _, q := range all[seen:] {
			c := s3Call(t, q)
			if c.write && q.IfMatch == "" && q.IfNoneMatch == "" && !strings.Contains(q.Path, "/.statelatch-probe/") {
				t.Errorf("%q: a write without a condition: %s", s.line, c.what)
			}
			for scope, p := range policies {
				for _, ask := range c.asks {
					if !p.Allows(ask) && !nearby(s.line, ask) {
						t.Errorf("%q: role gateway of the %s lacks %s, for %s", s.line, scope, ask, c.what)
					}
				}
			}
		}
		seen = len(all)
	}
	for scope, p := range policies {
		if unused := p.Unused(); len(unused) > 0 {
			t.Errorf("role gateway of the %s: nothing needs %q", scope, unused)
		}
	}
	if seen < 100 {
		t.Errorf("%d calls were recorded, want many more", seen)
	}
}
