package s3bucket

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"
	"github.com/statelatch/statelatch"
)

// reached is where a configuration leads, and as whom.
type reached struct{ Store, Region, AccessKey, Err string }

const reachVariable = "TEST_REACH"

// reach opens a configuration for the process that has started this one: the SDK looks for the home directory when a
// process starts.
func reach(text string) {
	log.SetOutput(io.Discard) // as our program does
	var c Config
	var r reached
	err := json.Unmarshal([]byte(text), &c)
	if c.AccessKey != "" {
		c.SecretKey = "secret" // which JSON leaves out
	}
	var b *Bucket
	if err == nil {
		b, err = Open(context.Background(), "acme-state", c)
	}
	if err == nil {
		o := b.client.Options()
		var keys aws.Credentials
		keys, err = o.Credentials.Retrieve(context.Background())
		r = reached{b.Store(), o.Region, keys.AccessKeyID, ""}
	}
	if err != nil {
		r.Err = err.Error()
	}
	_ = json.NewEncoder(os.Stdout).Encode(r)
}

// reachedIn opens a configuration in an environment.
func reachedIn(t *testing.T, e Environ, c Config) reached {
	t.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env, cmd.Dir, cmd.Stderr = append(slices.Clone(e.Vars), reachVariable+"="+string(text)), e.Dir, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var r reached
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	return r
}

func vars(env map[string]string) (list []string) {
	for name, value := range env {
		list = append(list, name+"="+value)
	}
	return list
}

// What an engine would reach with its own environment is what is reached for it here, or it is not reached at all.
func TestConfig_Adopt_ReachesTheSame(t *testing.T) {
	t.Parallel()
	home := t.TempDir() // of this process
	other := t.TempDir()
	plain := t.TempDir() // without files
	sso := t.TempDir()
	write := func(dir, name, content string) string {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	profile := func(endpoint, key string) string {
		return "region = us-east-1\nendpoint_url = " + endpoint + "\naws_access_key_id = " + key + "\naws_secret_access_key = secret\n"
	}
	write(home, ".aws/config", "[default]\n"+profile("http://home.example.com", "AKHOME")+"[profile prod]\n"+profile("http://home-prod.example.com", "AKHOMEPROD"))
	config := write(other, ".aws/config", "[default]\n"+profile("http://other.example.com", "AKOTHER"))
	write(other, ".aws/credentials", "[prod]\n"+profile("http://other-prod.example.com", "AKOTHERPROD"))
	write(sso, ".aws/config", "[default]\n"+profile("http://sso.example.com", "AKSSO")+"sso_session = x\n[sso-session x]\nsso_region = us-east-1\nsso_start_url = https://sso.example.com\n")
	write(other, "aws.cfg", "[default]\n"+profile("http://relative.example.com", "AKREL"))
	write(plain, "aws.cfg", "[default]\n"+profile("http://here.example.com", "AKHERE"))
	region := Config{Region: "us-east-1"}
	for name, tc := range map[string]struct {
		theirs  map[string]string // over ours; empty: not set
		ours    map[string]string // HOME apart
		dir     string            // theirs; empty: as ours
		c       Config
		refused string // the variable that cannot be carried over
	}{
		"nothing":                             {c: region},
		"another home":                        {theirs: map[string]string{"HOME": other}, c: region},
		"another home without files":          {theirs: map[string]string{"HOME": plain, "AWS_ACCESS_KEY_ID": "AKENV", "AWS_SECRET_ACCESS_KEY": "s"}, c: region},
		"another home with a login":           {theirs: map[string]string{"HOME": sso}, c: region, refused: "HOME"},
		"another home, configured file":       {theirs: map[string]string{"HOME": other}, c: Config{Region: "us-east-1", SharedConfigFiles: []string{"~/aws.cfg"}}},
		"another home, own keys and endpoint": {theirs: map[string]string{"HOME": other}, c: Config{Region: "us-east-1", AccessKey: "AKOWN", SecretKey: "s", Endpoints: Endpoints{S3: "http://own.example.com"}}},
		"a profile":                           {theirs: map[string]string{"AWS_PROFILE": "prod"}, c: region},
		"the other name of a profile":         {theirs: map[string]string{"AWS_DEFAULT_PROFILE": "prod"}, c: region},
		"a profile beside keys": {theirs: map[string]string{
			"AWS_PROFILE": "prod", "AWS_ACCESS_KEY_ID": "AKENV", "AWS_SECRET_ACCESS_KEY": "s",
		}, c: region},
		"a profile beside the same keys": {
			theirs: map[string]string{"AWS_DEFAULT_PROFILE": "prod"},
			ours:   map[string]string{"AWS_ACCESS_KEY_ID": "AKENV", "AWS_SECRET_ACCESS_KEY": "s"}, c: region,
		},
		"a profile of another home":    {theirs: map[string]string{"HOME": other, "AWS_PROFILE": "prod"}, c: region},
		"no profile where we have one": {theirs: map[string]string{"AWS_PROFILE": ""}, ours: map[string]string{"AWS_PROFILE": "prod"}, c: region, refused: "AWS_PROFILE"},
		"keys":                         {theirs: map[string]string{"AWS_ACCESS_KEY": "AKENV", "AWS_SECRET_KEY": "s"}, c: region},
		"no keys where we have some": {
			theirs: map[string]string{"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
			ours:   map[string]string{"AWS_ACCESS_KEY_ID": "AKENV", "AWS_SECRET_ACCESS_KEY": "s"}, c: region, refused: "AWS_ACCESS_KEY_ID",
		},
		"a region":                        {theirs: map[string]string{"AWS_REGION": "cn-north-1"}},
		"a lesser region that counts not": {theirs: map[string]string{"AWS_DEFAULT_REGION": "eu-west-1"}, ours: map[string]string{"AWS_REGION": "us-east-1"}},
		"an endpoint":                     {theirs: map[string]string{"AWS_ENDPOINT_URL_S3": "http://env.example.com"}, c: region},
		"an endpoint for all services":    {theirs: map[string]string{"AWS_ENDPOINT_URL": "http://env.example.com"}, c: region, refused: "AWS_ENDPOINT_URL"},
		"endpoints of files ignored":      {theirs: map[string]string{"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}, c: region, refused: "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"},
		"another configuration file":      {theirs: map[string]string{"AWS_CONFIG_FILE": config}, c: region},
		"another credentials file": {
			theirs: map[string]string{"AWS_SHARED_CREDENTIALS_FILE": filepath.Join(other, ".aws/credentials"), "AWS_PROFILE": "prod"}, c: region,
		},
		"a relative file": {ours: map[string]string{"AWS_CONFIG_FILE": "aws.cfg"}, dir: other, c: region},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ours := map[string]string{"HOME": home, "AWS_EC2_METADATA_DISABLED": "true"}
			maps.Copy(ours, tc.ours)
			theirs := maps.Clone(ours)
			maps.Copy(theirs, tc.theirs)
			maps.DeleteFunc(theirs, func(_, value string) bool { return value == "" })
			dir := plain
			if tc.dir != "" {
				dir = tc.dir
			}
			our, their := Environ{vars(ours), plain}, Environ{vars(theirs), dir}
			want := reachedIn(t, their, tc.c)
			if want.Err != "" {
				t.Fatal(want.Err)
			}
			c := tc.c
			switch err := c.Adopt(our, their); {
			case tc.refused == "" && err == nil:
				if got := reachedIn(t, our, c); got != want {
					t.Errorf("got %+v, want %+v", got, want)
				}
			case tc.refused == "" || !errors.Is(err, statelatch.ErrInvalid) || !strings.Contains(err.Error(), tc.refused):
				t.Errorf("got %v, want that what cannot be carried over is %q", err, tc.refused)
			default:
				if got := reachedIn(t, our, c); c.SameStore(our, their) && got.Store != want.Store {
					t.Errorf("%s is taken for %s", got.Store, want.Store)
				}
			}
		})
	}
}

// What the SDK thinks of the shared files is no talk of ours, and nothing logs requests.
func TestOpen_Silent(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	for name, key := range map[string]string{"config": "AKCONFIG", "credentials": "AKCREDENTIALS"} {
		path := filepath.Join(home, ".aws", name)
		text := "[default]\naws_access_key_id = " + key + "\naws_secret_access_key = secret\nregion = us-east-1\n"
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	var said bytes.Buffer
	cmd.Env, cmd.Stderr = []string{"HOME=" + home, reachVariable + "={}"}, &said
	out, err := cmd.Output()
	if err != nil || !strings.Contains(string(out), "AKCREDENTIALS") || said.Len() > 0 {
		t.Errorf("got %s, %v, and %q on stderr, want nothing of the SDK's", out, err, said.String())
	}
	store := newStore(t, stored)
	_, err = open(t, store.config()).client.HeadBucket(t.Context(), &s3.HeadBucketInput{Bucket: aws.String("bkt")}, func(o *s3.Options) {
		o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
			for _, id := range slices.Concat(stack.Initialize.List(), stack.Deserialize.List()) {
				if strings.HasPrefix(id, "TF_AWS_") {
					t.Errorf("got %s in every request", id)
				}
			}
			return nil
		})
	})
	if err != nil {
		t.Error(err)
	}
}

// What is configured counts more than the environment, and S3's own address more than that of all services.
func TestConfig_Where(t *testing.T) {
	t.Parallel()
	all := map[string]string{
		"AWS_REGION": "r1", "AWS_DEFAULT_REGION": "r2", "AWS_ENDPOINT_URL_S3": "e1", "AWS_S3_ENDPOINT": "e2",
		"AWS_ENDPOINT_URL": "e3",
	}
	for _, tc := range []struct {
		config       Config
		without      []string
		region, addr string
	}{
		{Config{Region: "r0", Endpoints: Endpoints{S3: "e0"}}, nil, "r0", "e0"},
		{Config{}, nil, "r1", "e1"},
		{Config{}, []string{"AWS_REGION", "AWS_ENDPOINT_URL_S3"}, "r2", "e2"},
		{Config{}, []string{"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL_S3", "AWS_S3_ENDPOINT"}, "", "e3"},
	} {
		getenv := func(name string) string {
			if slices.Contains(tc.without, name) {
				return ""
			}
			return all[name]
		}
		if region, addr := tc.config.Where(getenv); region != tc.region || addr != tc.addr {
			t.Errorf("without %q: got %q, %q, want %q, %q", tc.without, region, addr, tc.region, tc.addr)
		}
	}
}
