package migrate

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/statelatch/statelatch/e2e/internal/rig"
	"github.com/statelatch/statelatch/internal/dynamotest"
	"github.com/statelatch/statelatch/internal/faultproxy"
	"github.com/statelatch/statelatch/internal/policytest"
)

// iamCall is one call that was made, and everything it asks IAM for.
type iamCall struct {
	what  string
	write bool
	asks  []policytest.Request
}

// s3Call is one S3 call, and what it asks IAM for.
func s3Call(t *testing.T, r faultproxy.Request) iamCall {
	t.Helper()
	path, err := url.PathUnescape(r.Path)
	if err != nil {
		t.Fatal(err)
	}
	query, err := url.ParseQuery(r.Query)
	if err != nil {
		t.Fatal(err)
	}
	bucket, key, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if bucket == "plain" || bucket == "fresh" { // the policies are for one bucket, whatever its name
		bucket = "terraform-state"
	}
	call := iamCall{what: fmt.Sprintf("%s %s?%s -> %d", r.Method, path, r.Query, r.Status), write: r.Method != http.MethodGet && r.Method != http.MethodHead}
	onBucket, onObject := "arn:aws:s3:::"+bucket, "arn:aws:s3:::"+bucket+"/"+key
	ask := func(action, resource string) {
		call.asks = append(call.asks, policytest.Request{Action: "s3:" + action, Resource: resource})
	}
	list := func(action string, prefix ...string) {
		r := policytest.Request{Action: "s3:" + action, Resource: onBucket}
		if len(prefix) > 0 {
			r.Context = map[string][]string{"s3:prefix": prefix}
		}
		call.asks = append(call.asks, r)
	}
	version := ""
	if query.Has("versionId") {
		version = "Version"
	}
	switch object := key != ""; {
	case !object && r.Method == http.MethodGet && query.Has("list-type"):
		list("ListBucket", query["prefix"]...)
	case !object && r.Method == http.MethodGet && query.Has("versions"):
		list("ListBucketVersions", query["prefix"]...)
	case !object && r.Method == http.MethodHead:
		list("ListBucket")
	case !object && r.Method == http.MethodPut && r.Query == "" || !object && r.Query == "x-id=CreateBucket":
		ask("CreateBucket", onBucket)
	case !object:
		for parameter, action := range map[string]string{
			"versioning": "BucketVersioning", "encryption": "EncryptionConfiguration", "publicAccessBlock": "BucketPublicAccessBlock",
			"ownershipControls": "BucketOwnershipControls", "policy": "BucketPolicy", "policyStatus": "BucketPolicyStatus",
			"lifecycle": "LifecycleConfiguration", "logging": "BucketLogging", "location": "BucketLocation", "acl": "BucketAcl",
			"object-lock": "BucketObjectLockConfiguration", "replication": "ReplicationConfiguration", "requestPayment": "BucketRequestPayment", "tagging": "BucketTagging",
		} {
			if query.Has(parameter) {
				ask(map[string]string{http.MethodGet: "Get", http.MethodPut: "Put"}[r.Method]+action, onBucket)
			}
		}
	case r.Method == http.MethodHead || r.Method == http.MethodGet:
		ask("GetObject"+version, onObject)
		if r.Status == 404 {
			list("ListBucket", key) // or S3 answers with 403
		}
	case r.Method == http.MethodPut || r.Method == http.MethodPost && (query.Has("uploads") || query.Has("uploadId")):
		ask("PutObject", onObject)
	case r.Method == http.MethodDelete:
		ask("DeleteObject"+version, onObject)
	}
	if call.write && r.IfMatch != "" {
		ask("GetObject", onObject)
	}
	if len(call.asks) == 0 {
		t.Fatalf("a call that is not known: %s", call.what)
	}
	return call
}

func itemCall(r dynamotest.Request) iamCall {
	ask := policytest.Request{Action: "dynamodb:" + r.Op, Resource: "arn:aws:dynamodb:us-east-1:123456789012:table/" + rig.LockTable}
	if r.LockID != "" {
		ask.Context = map[string][]string{"dynamodb:LeadingKeys": {r.LockID}}
	}
	return iamCall{what: r.Op + " " + r.LockID, write: r.Op == "PutItem" || r.Op == "DeleteItem", asks: []policytest.Request{ask}}
}

// recorder is a Workdir whose calls are all recorded.
type recorder struct {
	*rig.Workdir
	s3     *faultproxy.Proxy
	table  *dynamotest.Server
	seen   int // of the log of s3
	tabled int // of that of the table

	tableURL     string
	id, snapshot string // the last that were printed
}

// newRecorder makes a working directory with the lock object and a lock table, in which nothing was initialised yet.
func newRecorder(t *testing.T) *recorder {
	t.Helper()
	r := &recorder{Workdir: &rig.Workdir{World: rig.NewWorld(t), Terraform: rig.Need(t, rig.Engine())}, table: dynamotest.NewServer(rig.LockTable)}
	delete(r.Env, "STATELATCH_PROBE")
	const id, secret = "recorder-access-key-id", "recorder-secret-access-key-of-the-tests"
	r.Env["STATELATCH_ACCESS_KEY_ID"], r.Env["STATELATCH_SECRET_ACCESS_KEY"] = id, secret
	r.Server = r.Serve()
	r.Env["AWS_ACCESS_KEY_ID"], r.Env["AWS_SECRET_ACCESS_KEY"] = id, secret
	proxy, err := faultproxy.Start(r.Server.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = proxy.Close() })
	items := httptest.NewServer(r.table)
	t.Cleanup(items.Close)
	r.s3 = proxy
	// What is rescued is read back if the reply was lost.
	for _, prefix := range []string{"/terraform-state/app/", "/terraform-state/env:/staging/"} {
		rescue := func(q *http.Request) bool {
			return q.Method == http.MethodPut && strings.HasPrefix(q.URL.Path, prefix) && strings.Contains(q.URL.Path, ".rescue/")
		}
		proxy.Add(faultproxy.Rule{Match: rescue, Nth: 1, Fault: faultproxy.LoseRequest()}, faultproxy.Rule{Match: rescue, Nth: 2, Fault: faultproxy.LoseReply()})
	}
	r.Env["AWS_ENDPOINT_URL_S3"], r.tableURL = proxy.URL, items.URL
	block := strings.Replace(r.Server.Block, "example/terraform.tfstate", rig.StateKey, 1)
	block = strings.Replace(block, "use_lockfile = true\n", "use_lockfile = true\ndynamodb_table = \""+rig.LockTable+"\"\n", 1)
	block = strings.Replace(block, `{ s3 = "`+r.Server.URL+`" }`, `{ s3 = "`+proxy.URL+`", dynamodb = "`+items.URL+`" }`, 1)
	if !strings.Contains(block, items.URL) || !strings.Contains(block, rig.LockTable) {
		t.Fatalf("no lock table in %s", block)
	}
	r.Dir = r.Project(block)
	r.files()
	return r
}

// files puts into the working directory what the steps use, and makes the bucket without versions.
func (r *recorder) files() {
	r.T.Helper()
	r.write()
	client := s3.New(s3.Options{
		BaseEndpoint: &r.Server.URL, UsePathStyle: true, Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider(r.Env["AWS_ACCESS_KEY_ID"], r.Env["AWS_SECRET_ACCESS_KEY"], ""),
	})
	if _, err := client.CreateBucket(r.T.Context(), &s3.CreateBucketInput{Bucket: aws.String("plain")}); err != nil {
		r.T.Fatal(err)
	}
}

// write puts into the working directory what the steps use.
func (r *recorder) write() {
	r.T.Helper()
	const lineage = "3f8e0b5c-0000-4000-8000-000000000000"
	for name, serial := range map[string]int{"first.tfstate": 1, "second.tfstate": 2} {
		r.Write(filepath.Join(r.Dir, name), fmt.Sprintf(`{"version":4,"terraform_version":"1.11.4","serial":%d,"lineage":%q,"outputs":{},"resources":[],"check_results":null}`, serial, lineage))
	}
	// A state that does not fit is not pushed, but rescued.
	r.Write(filepath.Join(r.Dir, "killed.sh"), "kill -9 $PPID\nexec sleep 600\n")
	r.Write(filepath.Join(r.Dir, "errored.sh"), "cp first.tfstate errored.tfstate\nexit 1\n")
}

// calls are those since the last time.
func (r *recorder) calls(t *testing.T) []iamCall {
	t.Helper()
	var all []iamCall
	s3, items := r.s3.Requests(), r.table.Requests()
	for _, c := range s3[r.seen:] {
		all = append(all, s3Call(t, c))
	}
	for _, c := range items[r.tabled:] {
		all = append(all, itemCall(c))
	}
	r.seen, r.tabled = len(s3), len(items)
	return all
}

// policies are a role's, for each way to say what it is about.
func (r *recorder) policies(t *testing.T, role string) map[string]*policytest.Policy {
	t.Helper()
	all := map[string]*policytest.Policy{}
	flags := []string{"-account", "123456789012", "-backend-config", "dynamodb_table=" + rig.LockTable}
	for name, args := range map[string][]string{
		"directory": {"-chdir", r.Dir}, "prefix": {"s3://terraform-state/app/"}, "bucket": {"s3://terraform-state"},
	} {
		if role == "bucket" && name == "prefix" {
			continue
		}
		res := r.Statelatch(append(append([]string{"policy", "-role", role}, flags...), args...)...)
		p, err := policytest.Parse([]byte(res.Stdout))
		if err != nil {
			t.Fatalf("%v: %v", err, res)
		}
		all[name] = p
	}
	return all
}

// scopes are the policies that a step is held against, by the end of its role: a look over a prefix takes a policy that
// is at least for the prefix.
var scopes = map[string][]string{"": {"directory", "prefix", "bucket"}, "below app": {"prefix", "bucket"}, "anywhere": {"bucket"}}

// roleStep is a command line, whose role it is, and the exit code it ends with. ID in it is the last lock's, SNAPSHOT
// the name of the last snapshot that was shown, TABLE the URL of the lock table.
type roleStep struct {
	role string
	code int
	line string
}

const onDefault = "s3://terraform-state/" + rig.StateKey

// killed is a run that dies and leaves its lock with a lease.
const killed = "statelatch run -- sh killed.sh"

// roleSteps are what people and pipelines do, each under the role that it is for.
var roleSteps = []roleStep{
	{"apply", 0, "terraform init -input=false -no-color"},
	{"apply", 0, "statelatch status"},
	{"apply", 0, "statelatch lock"}, // the first one probes the store
	{"apply", 1, "terraform plan -no-color"},
	{"apply", 11, "statelatch lock -lock-timeout 1ms"},
	{"apply", 0, "statelatch unlock"},
	{"apply", 0, "terraform apply -auto-approve -no-color -var chunks=780"}, // in parts
	{"apply", 0, "terraform apply -auto-approve -no-color"},
	{"apply", 0, "terraform output"},
	{"apply", 0, "statelatch run -- terraform apply -auto-approve -no-color -var value=b"},
	{"apply", 1, "statelatch run -- sh errored.sh"},
	{"apply", 0, "terraform workspace new staging"},
	{"apply", 0, "terraform apply -auto-approve -no-color"},
	{"apply", 0, "statelatch run -- terraform apply -auto-approve -no-color -var value=b"},
	{"apply", 1, "statelatch run -- sh errored.sh"},
	{"apply", 0, "terraform workspace list"},
	{"apply", 0, "statelatch workspace new testing"},
	{"apply", 0, "statelatch workspace list"},
	{"apply", 0, "statelatch status"},
	{"apply", 0, "statelatch history"},
	{"apply", 0, "statelatch history " + onDefault},
	{"apply below app", 0, "statelatch locks s3://terraform-state/app"},

	// In a bucket that keeps no versions, each of our writes keeps the state before it.
	{"apply", 0, "statelatch push first.tfstate s3://plain/" + rig.StateKey},
	{"apply", 0, "statelatch push second.tfstate s3://plain/" + rig.StateKey},
	{"apply", 0, "statelatch push first.tfstate s3://plain/env:/staging/" + rig.StateKey},
	{"apply", 0, "statelatch push second.tfstate s3://plain/env:/staging/" + rig.StateKey},

	{"plan", 0, "terraform init -input=false -no-color"},
	{"plan", 0, "terraform plan -lock=false -no-color -var value=b"},
	{"plan", 0, "terraform output"},
	{"plan", 0, "terraform workspace list"},
	{"plan", 0, "statelatch run -read -- terraform plan -lock=false -no-color"},
	{"plan", 0, "statelatch status"},
	{"plan", 0, "statelatch pull"},
	{"plan", 0, "statelatch history"},
	{"plan", 0, "statelatch locks s3://terraform-state/" + rig.StateKey},
	{"plan below app", 0, "statelatch locks s3://terraform-state/app"},
	{"plan anywhere", 0, "statelatch locks s3://terraform-state"},
	{"apply", 0, "terraform workspace select default"},
	{"plan", 0, "terraform output"},
	{"plan", 0, "statelatch status"},
	{"plan", 0, "statelatch history"},
	{"plan", 0, "statelatch history s3://plain/" + rig.StateKey},
	{"plan", 0, "statelatch pull -version SNAPSHOT s3://plain/" + rig.StateKey},
	{"plan", 0, "statelatch history s3://plain/env:/staging/" + rig.StateKey},
	{"plan", 0, "statelatch pull -version SNAPSHOT s3://plain/env:/staging/" + rig.StateKey},
	{"plan", 0, "statelatch show"},
	{"plan", 0, "statelatch diff previous"},
	{"plan below app", 10, "statelatch pull s3://terraform-state/app/absent"},
	{"plan below app", 0, "statelatch states -headers -versions -anomalies s3://terraform-state/app"},
	{"plan anywhere", 0, "statelatch states -headers -versions -anomalies s3://terraform-state"},
	{"apply", 15, "statelatch run -read -- statelatch push -force second.tfstate"},

	{"apply", 0, "statelatch lock"},
	{"unlock", 11, "statelatch status"},
	{"unlock", 0, "statelatch locks -backend-config dynamodb_table=locks -backend-config dynamodb_endpoint=TABLE s3://terraform-state/" + rig.StateKey},
	{"unlock", 0, "statelatch locks s3://terraform-state/env:/staging/" + rig.StateKey},
	{"unlock below app", 0, "statelatch locks s3://terraform-state/app"},
	{"unlock anywhere", 0, "statelatch locks"},
	{"unlock", 0, "terraform force-unlock -force ID"},
	{"apply", 0, "statelatch lock"},
	{"unlock", 0, "statelatch force-unlock -force ID"},
	{"apply", -1, killed},
	{"unlock", 11, "statelatch status"},
	{"unlock", 0, "statelatch force-unlock -force ID"},
	{"unlock", 0, "statelatch status"},
	{"apply", 0, "terraform workspace select staging"},
	{"apply", 0, "statelatch lock"},
	{"unlock", 0, "terraform force-unlock -force ID"},
	{"apply", 0, "statelatch lock"},
	{"unlock", 0, "statelatch force-unlock -force ID"},
	{"apply", -1, killed},
	{"unlock", 11, "statelatch status"},
	{"unlock", 0, "statelatch force-unlock -force ID"},
	{"unlock", 0, "statelatch status"},

	{"admin", 0, "statelatch rollback -auto-approve previous"},
	{"admin", 0, "statelatch rollback -auto-approve previous s3://plain/" + rig.StateKey},
	{"admin", 0, "statelatch rollback -auto-approve previous s3://plain/env:/staging/" + rig.StateKey},
	{"admin", 0, "statelatch workspace delete testing"},
	{"admin", 0, "terraform destroy -auto-approve -no-color"},
	{"apply", 0, "terraform workspace select default"},
	{"admin", 0, "terraform workspace delete staging"},
	{"admin anywhere", 0, "statelatch locks"},
	{"admin", 0, "statelatch gc -older-than 0s -auto-approve s3://terraform-state/" + rig.StateKey},
	{"admin below app", 0, "statelatch gc -older-than 0s -auto-approve s3://terraform-state/app"},
	{"admin", 0, "statelatch gc -keep-snapshots 1 -auto-approve s3://plain/" + rig.StateKey},
	{"admin", 0, "statelatch gc -keep-snapshots 1 -auto-approve s3://plain/env:/staging/" + rig.StateKey},
	{"admin", 0, "statelatch probe -clients 2 -rounds 1"},

	{"bucket", 0, "statelatch bucket init -auto-approve -tag team=core s3://fresh"},
	{"bucket", 0, "statelatch bucket check s3://terraform-state"},
}

// unneeded are parts of policies, by what their names contain, that no step above can need here.
var unneeded = map[string]string{
	"s3:GetBucketLocation":          "asked only where the answer to HEAD does not tell the region",
	"s3:PutBucketPolicy":            "bucket init writes it on a store with TLS",
	"s3:PutBucketLogging":           "the embedded store has no access logs",
	"s3:PutBucketOwnershipControls": "the embedded store has none",
}

// Everything that our commands and the engine send is allowed by the policy of the role that they belong to, and
// nothing in that policy is there for nothing. The role plan is refused every write.
func TestPolicy_CoversTheCallsThatAreMade(t *testing.T) {
	t.Parallel()
	r := newRecorder(t)
	roles := map[string]map[string]*policytest.Policy{}
	for _, role := range []string{"plan", "apply", "unlock", "admin", "bucket"} {
		roles[role] = r.policies(t, role)
	}
	var made []iamCall
	for _, s := range roleSteps {
		r.do(t, s)
		calls := r.calls(t)
		if len(calls) == 0 {
			t.Errorf("%s: nothing was recorded", s.line)
		}
		made = append(made, calls...)
		role, within, _ := strings.Cut(s.role, " ")
		may := []string{role}
		if role == "plan" || role == "apply" || role == "unlock" {
			may = append(may, "admin")
		}
		for _, role := range may {
			for scope, p := range roles[role] {
				if !slices.Contains(scopes[within], scope) {
					continue
				}
				for _, c := range calls {
					for _, ask := range c.asks {
						if !p.Allows(ask) && !nearby(s.line, ask) {
							t.Errorf("%q: role %s of the %s lacks %s, for %s", s.line, role, scope, ask, c.what)
						}
					}
				}
			}
		}
	}
	for role, scopes := range roles {
		for scope, p := range scopes {
			for _, part := range p.Unused() {
				if !slices.ContainsFunc(slices.Collect(maps.Keys(unneeded)), func(u string) bool { return strings.Contains(role+" "+part, u) }) {
					t.Errorf("role %s of the %s: nothing needs %s", role, scope, part)
				}
			}
		}
	}
	writes := 0
	for _, c := range made {
		if !c.write {
			continue
		}
		writes++
		for scope, p := range roles["plan"] {
			if !slices.ContainsFunc(c.asks, func(ask policytest.Request) bool { return !p.Allows(ask) }) {
				t.Errorf("role plan of the %s allows %s", scope, c.what)
			}
		}
	}
	t.Logf("%d calls, %d of them writes", len(made), writes)
	if writes < 50 {
		t.Errorf("%d writes were recorded, want many more", writes)
	}
}

// nearby tells the listings by which a command looks for what a key without a state could have meant: without the right
// it does without.
func nearby(line string, ask policytest.Request) bool {
	prefix := ask.Context["s3:prefix"]
	return ask.Action == "s3:ListBucket" && len(prefix) == 1 && (prefix[0] == "app/" || prefix[0] == "a") &&
		(strings.HasPrefix(line, "statelatch status") || strings.HasPrefix(line, "statelatch lock"))
}

// do runs one step.
func (r *recorder) do(t *testing.T, s roleStep) {
	t.Helper()
	line := strings.NewReplacer("ID", r.id, "SNAPSHOT", r.snapshot, "TABLE", r.tableURL, "statelatch ", rig.Binary+" ", "terraform ", r.Terraform+" ").Replace(s.line)
	words := strings.Fields(line)
	res := r.Run(r.Dir, words[0], words[1:]...)
	if res.Code != s.code {
		t.Fatalf("%s: want exit %d: %v", s.line, s.code, res)
	}
	if s.line == "statelatch lock" {
		r.id = strings.TrimSpace(res.Stdout)
	} else if m := rig.LockID.FindStringSubmatch(res.Stdout); m != nil {
		r.id = m[1]
	}
	if m := snapshotName.FindString(res.Stdout); m != "" {
		r.snapshot = m
	}
}

var snapshotName = regexp.MustCompile(`[0-9]{8}T[0-9]{6}Z-[0-9]{20}-[0-9a-f]{32}`)
