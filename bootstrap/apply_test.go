package bootstrap

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/statelatch/statelatch"
)

func TestApply_SecondRunHasNothingToDo(t *testing.T) {
	t.Parallel()
	c, w := newClient(t)
	d := desired()
	d.RequireConditions = true
	if skipped := apply(t, c, d); len(skipped) > 0 {
		t.Errorf("skipped %v, want nothing", skipped)
	}
	if p, a := plan(t, c, d); len(p.Steps)+len(p.Skipped) > 0 || a.Region != "eu-central-1" {
		t.Errorf("second plan: got %v, skipped %v, in %q; want nothing to do in eu-central-1", ids(p), p.Skipped, a.Region)
	}
	first := w.took()
	apply(t, c, d)
	if more := w.took()[len(first):]; len(more) > 0 {
		t.Errorf("the second run wrote %v, want nothing", more)
	}
}

// Versioning comes before lifecycle rules for old versions, the public access block before the policy.
func TestApply_Order(t *testing.T) {
	t.Parallel()
	c, w := newClient(t)
	apply(t, c, desired())
	want := []string{"PUT ?", "PUT ?publicAccessBlock", "PUT ?encryption", "PUT ?versioning", "PUT ?lifecycle", "PUT ?policy"}
	if got := w.took(); !slices.Equal(got, want) {
		t.Errorf("wrote %v, want %v", got, want)
	}
}

func TestApply_ExpectedOwnerOnEveryCallButCreate(t *testing.T) {
	t.Parallel()
	plain, w := newClient(t)
	created := false
	w.answer = func(req *http.Request, _ func() *httptest.ResponseRecorder) *httptest.ResponseRecorder {
		w.mu.Lock()
		defer w.mu.Unlock()
		create := req.Method == http.MethodPut && !strings.Contains(req.URL.RawQuery, "=")
		if has := req.Header.Get("X-Amz-Expected-Bucket-Owner") != ""; has == create {
			t.Errorf("%s %s: expected owner sent: %v, want %v", req.Method, req.URL, has, !create)
		}
		created = created || create
		switch {
		case create || created && req.Method == http.MethodHead:
			return httptest.NewRecorder()
		case req.Method == http.MethodHead:
			return refusal(http.StatusNotFound, "")
		}
		return refusal(http.StatusNotImplemented, "NotImplemented")
	}
	options := plain.Options()
	options.APIOptions = append(options.APIOptions, smithyhttp.SetHeaderValue("X-Amz-Expected-Bucket-Owner", "123456789012"))
	c, d := s3.New(options), desired()
	p, _ := plan(t, c, d)
	if _, err := Apply(t.Context(), c, d, p, func(Outcome) {}); err != nil || !created {
		t.Errorf("got %v, created %v, want a bucket without anything", err, created)
	}
}

func TestApply_LocationConstraint(t *testing.T) {
	t.Parallel()
	for region, want := range map[string]string{"us-east-1": "", "eu-west-1": "eu-west-1", "us-gov-west-1": "us-gov-west-1"} {
		c, _ := newClient(t)
		d := desired()
		d.Region = region
		apply(t, c, d)
		out, err := c.GetBucketLocation(t.Context(), &s3.GetBucketLocationInput{Bucket: &d.Bucket})
		if err != nil || string(out.LocationConstraint) != want {
			t.Errorf("created in %s: got location %q (%v), want %q", region, out.LocationConstraint, err, want)
		}
	}
}

func TestApply_DriftIsMended(t *testing.T) {
	t.Parallel()
	c, w := newClient(t)
	d := desired()
	apply(t, c, d)
	if _, err := c.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{
		Bucket: &d.Bucket, VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusSuspended},
	}); err != nil {
		t.Fatal(err)
	}
	p, _ := plan(t, c, d)
	if got := ids(p); !slices.Equal(got, []string{idVersioning}) || p.Steps[0].From != "Suspended" {
		t.Fatalf("plan %v, want versioning from Suspended", p.Steps)
	}
	before := len(w.took())
	apply(t, c, d)
	if got := w.took()[before:]; !slices.Equal(got, []string{"PUT ?versioning"}) {
		t.Errorf("wrote %v, want versioning alone", got)
	}
}

func TestApply_ChangedMeanwhile(t *testing.T) {
	t.Parallel()
	c, w := newClient(t)
	d := desired()
	shown, _ := plan(t, c, d)
	if _, err := c.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &d.Bucket}); err != nil {
		t.Fatal(err)
	}
	before := len(w.took())
	_, err := Apply(t.Context(), c, d, shown, func(o Outcome) { t.Errorf("done: %s", o.ID) })
	if !errors.Is(err, ErrChanged) || len(w.took()) != before {
		t.Errorf("got %v and wrote %v, want ErrChanged and nothing written", err, w.took()[before:])
	}
}

// AWS shows the old configuration for a while, and refuses a change while another is under way.
func TestApply_EventuallyConsistent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, w := newClient(t)
		stale, busy, put := 5, 3, false
		w.answer = func(req *http.Request, store func() *httptest.ResponseRecorder) *httptest.ResponseRecorder {
			switch versioning := req.URL.Query().Has("versioning"); {
			case versioning && req.Method == http.MethodPut && busy > 0:
				busy--
				return refusal(http.StatusConflict, "OperationAborted")
			case versioning && req.Method == http.MethodPut:
				put = true
			case versioning && put && stale > 0:
				stale--
				rec := httptest.NewRecorder()
				_, _ = rec.WriteString(`<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"/>`)
				return rec
			}
			return store()
		}
		d := desired()
		apply(t, c, d)
		if stale > 0 || busy > 0 {
			t.Errorf("%d stale and %d busy answers are left: the write was not tried again, or not read back", stale, busy)
		}
		if n := slices.Index(w.took(), "PUT ?lifecycle"); n < 0 || w.took()[n-1] != "PUT ?versioning" {
			t.Errorf("wrote %v", w.took())
		}
	})
}

func TestApply_NeverShown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, w := newClient(t)
		w.answer = func(req *http.Request, store func() *httptest.ResponseRecorder) *httptest.ResponseRecorder {
			if req.Method == http.MethodPut && req.URL.Query().Has("versioning") {
				return httptest.NewRecorder() // swallowed
			}
			return store()
		}
		d := desired()
		p, _ := plan(t, c, d)
		_, err := Apply(t.Context(), c, d, p, func(Outcome) {})
		if err == nil || !strings.Contains(err.Error(), "does not show it") {
			t.Errorf("got %v, want that the store does not show it", err)
		}
	})
}

// A store that knows no sizes in filters makes of our rule one that deletes the history of every state.
func TestApply_GarbledRulesAreTakenBack(t *testing.T) {
	t.Parallel()
	c, w := newClient(t)
	w.answer = func(req *http.Request, store func() *httptest.ResponseRecorder) *httptest.ResponseRecorder {
		rec := store()
		if req.Method == http.MethodGet && req.URL.Query().Has("lifecycle") {
			body := strings.ReplaceAll(rec.Body.String(), "<ObjectSizeLessThan>2048</ObjectSizeLessThan>", "")
			rec.Body = bytes.NewBufferString(body)
		}
		return rec
	}
	d := desired()
	if skipped := apply(t, c, d); !slices.Equal(skipped, []string{idLifecycle}) {
		t.Errorf("skipped %v, want the lifecycle rules", skipped)
	}
	if _, a := plan(t, c, d); len(a.Lifecycle.Value.Rules) > 0 {
		t.Errorf("rules left: %d, want none", len(a.Lifecycle.Value.Rules))
	}
}

func TestApply_UnsupportedAfterCreate(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		query    string
		skipped  []string
		asked    string
		required bool
	}{
		{"publicAccessBlock", []string{idPublicAccess}, "", false},
		{"encryption", []string{idEncryption}, "", false},
		{"encryption", nil, aes256, true},
		{"versioning", []string{idVersioning}, "", false}, // such stores are used: R2 has none
	} {
		c, w := newClient(t)
		w.answer = func(req *http.Request, store func() *httptest.ResponseRecorder) *httptest.ResponseRecorder {
			if req.URL.Query().Has(tc.query) {
				return refusal(http.StatusNotImplemented, "NotImplemented")
			}
			return store()
		}
		d := desired()
		d.Encryption = tc.asked
		p, _ := plan(t, c, d)
		var skipped []string
		_, err := Apply(t.Context(), c, d, p, func(o Outcome) {
			if o.Skipped != "" {
				skipped = append(skipped, o.ID)
			}
		})
		if !slices.Equal(skipped, tc.skipped) || errors.Is(err, statelatch.ErrUnsupported) != tc.required {
			t.Errorf("no %s (asked %q): skipped %v, error %v; want %v and an error: %v", tc.query, tc.asked, skipped, err, tc.skipped, tc.required)
		}
		if !slices.Contains(w.took(), "PUT ?policy") {
			t.Errorf("no %s: the rest was not done", tc.query)
		}
	}
}

func TestApply_DeniedNamesTheAction(t *testing.T) {
	t.Parallel()
	c, w := newClient(t)
	w.answer = func(req *http.Request, store func() *httptest.ResponseRecorder) *httptest.ResponseRecorder {
		if req.Method == http.MethodPut && req.URL.Query().Has("policy") {
			return refusal(http.StatusForbidden, "AccessDenied")
		}
		return store()
	}
	d := desired()
	p, _ := plan(t, c, d)
	_, err := Apply(t.Context(), c, d, p, func(Outcome) {})
	if !errors.Is(err, statelatch.ErrDenied) || !strings.Contains(err.Error(), "s3:PutBucketPolicy") {
		t.Errorf("got %v, want ErrDenied with the action", err)
	}
}

func TestApply_NameTaken(t *testing.T) {
	t.Parallel()
	c, w := newClient(t)
	w.answer = func(req *http.Request, store func() *httptest.ResponseRecorder) *httptest.ResponseRecorder {
		if req.Method == http.MethodPut {
			return refusal(http.StatusConflict, "BucketAlreadyExists")
		}
		return store()
	}
	d := desired()
	p, _ := plan(t, c, d)
	_, err := Apply(t.Context(), c, d, p, func(Outcome) {})
	if !errors.Is(err, statelatch.ErrDenied) || !strings.Contains(err.Error(), "somebody else") || len(w.took()) != 1 {
		t.Errorf("got %v after %v, want a refusal after one request", err, w.took())
	}
}

func TestInspect_NotOurs(t *testing.T) {
	t.Parallel()
	c, w := newClient(t)
	w.answer = func(*http.Request, func() *httptest.ResponseRecorder) *httptest.ResponseRecorder {
		rec := httptest.NewRecorder()
		rec.WriteHeader(http.StatusForbidden)
		return rec
	}
	if _, err := Inspect(t.Context(), c, "acme-state"); !errors.Is(err, statelatch.ErrDenied) {
		t.Errorf("got %v, want ErrDenied", err)
	}
}

func TestInspect_OtherRegion(t *testing.T) {
	t.Parallel()
	c, w := newClient(t)
	w.answer = func(*http.Request, func() *httptest.ResponseRecorder) *httptest.ResponseRecorder {
		rec := httptest.NewRecorder()
		rec.Header().Set("X-Amz-Bucket-Region", "ap-south-1")
		rec.WriteHeader(http.StatusMovedPermanently)
		return rec
	}
	a, err := Inspect(t.Context(), c, "acme-state")
	if err != nil || !a.Exists || a.Region != "ap-south-1" || len(w.sent) != 1 {
		t.Errorf("got %v, %v after %d requests; want a bucket in ap-south-1 after one", a, err, len(w.sent))
	}
}

// What is not ours in a bucket's documents comes back as it was.
func TestApply_ForeignPartsStay(t *testing.T) {
	t.Parallel()
	c, _ := newClient(t)
	d := desired()
	if _, err := c.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &d.Bucket}); err != nil {
		t.Fatal(err)
	}
	foreign := `{"Sid":"Audit","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},"Action":"s3:Get*","Resource":"arn:aws:s3:::acme-state/*","Condition":{"NumericLessThan":{"s3:TlsVersion":1.20}}}`
	if _, err := c.PutBucketPolicy(t.Context(), &s3.PutBucketPolicyInput{
		Bucket: &d.Bucket, Policy: aws.String(`{"Version":"2008-10-17","Id":"mine<>&","Statement":` + foreign + `}`),
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.PutBucketLifecycleConfiguration(t.Context(), &s3.PutBucketLifecycleConfigurationInput{
		Bucket: &d.Bucket, LifecycleConfiguration: &types.BucketLifecycleConfiguration{Rules: []types.LifecycleRule{{
			ID: aws.String("logs"), Status: types.ExpirationStatusEnabled, Filter: &types.LifecycleRuleFilter{Prefix: aws.String("logs/")},
			Expiration: &types.LifecycleExpiration{Days: aws.Int32(5)},
		}}},
	}); err != nil {
		t.Fatal(err)
	}
	apply(t, c, d)
	_, a := plan(t, c, d)
	for _, want := range []string{foreign, `"2008-10-17"`, `"mine<>&"`, sidTLSOnly} {
		if !strings.Contains(a.Policy.Value, want) {
			t.Errorf("policy %s lacks %s", a.Policy.Value, want)
		}
	}
	if l := a.Lifecycle.Value; len(l.Rules) != 3 || describeRule(l.Rules[l.index("logs")]) != `delete current objects after 5 days (objects below "logs/")` {
		t.Errorf("rules %d, want the foreign one and our two", len(l.Rules))
	}
}

// HEAD is refused without a reason, so the reason is asked for: wrong credentials miss no right.
func TestInspect_WhyHeadIsRefused(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		status       int // as AWS answers
		code, action string
	}{
		{http.StatusForbidden, "InvalidAccessKeyId", ""},
		{http.StatusBadRequest, "ExpiredToken", ""},
		{http.StatusBadRequest, "InvalidToken", ""},
		{http.StatusBadRequest, "TokenRefreshRequired", ""},
		{http.StatusForbidden, "RequestTimeTooSkewed", ""},
		{http.StatusForbidden, "AccessDenied", "s3:ListBucket"},
	} {
		c, w := newClient(t)
		w.answer = func(req *http.Request, _ func() *httptest.ResponseRecorder) *httptest.ResponseRecorder {
			if req.Method == http.MethodHead {
				rec := httptest.NewRecorder()
				rec.WriteHeader(tc.status)
				return rec
			}
			return refusal(tc.status, tc.code)
		}
		_, err := Inspect(t.Context(), c, "acme-state")
		if se, ok := errors.AsType[*statelatch.StoreError](err); !ok || se.Code != tc.code || se.Action != tc.action || !errors.Is(err, statelatch.ErrDenied) {
			t.Errorf("%s: got %v, want ErrDenied with that code and the action %q", tc.code, err, tc.action)
		}
	}
}

// Credentials that end after the first request are no finding about a setting; a right that is missing is.
func TestInspect_CredentialsEndUnderWay(t *testing.T) {
	t.Parallel()
	for status, code := range map[int]string{http.StatusBadRequest: "ExpiredToken", http.StatusForbidden: "AccessDenied"} {
		c, w := newClient(t)
		bucket := "acme-state"
		if _, err := c.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &bucket}); err != nil {
			t.Fatal(err)
		}
		w.answer = func(req *http.Request, store func() *httptest.ResponseRecorder) *httptest.ResponseRecorder {
			if req.URL.Query().Has("lifecycle") {
				return refusal(status, code)
			}
			return store()
		}
		a, err := Inspect(t.Context(), c, bucket)
		if code == "AccessDenied" {
			if err != nil || !errors.Is(a.Lifecycle.Err, statelatch.ErrDenied) {
				t.Errorf("%s: got %v and for the setting %v, want a setting that is denied", code, err, a.Lifecycle.Err)
			}
		} else if !errors.Is(err, statelatch.ErrDenied) {
			t.Errorf("%s: got %v, want ErrDenied", code, err)
		}
	}
}

// What somebody adds to the policy while the steps before it are carried out stays.
func TestApply_KeepsWhatComesMeanwhile(t *testing.T) {
	t.Parallel()
	c, w := newClient(t)
	d := desired()
	if _, err := c.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &d.Bucket}); err != nil {
		t.Fatal(err)
	}
	p, _ := plan(t, c, d)
	const foreign = `{"Sid":"Audit","Effect":"Deny","Principal":{"AWS":"arn:aws:iam::123456789012:root"},"Action":"s3:DeleteBucket","Resource":"arn:aws:s3:::acme-state"}`
	var once sync.Once
	w.answer = func(req *http.Request, store func() *httptest.ResponseRecorder) *httptest.ResponseRecorder {
		if req.Method == http.MethodPut && req.URL.Query().Has("versioning") {
			once.Do(func() {
				if _, err := c.PutBucketPolicy(t.Context(), &s3.PutBucketPolicyInput{
					Bucket: &d.Bucket, Policy: aws.String(`{"Version":"2012-10-17","Statement":[` + foreign + `]}`),
				}); err != nil {
					t.Error(err)
				}
			})
		}
		return store()
	}
	a, err := Apply(t.Context(), c, d, p, func(Outcome) {})
	if err != nil || !strings.Contains(a.Policy.Value, "Audit") || !strings.Contains(a.Policy.Value, sidTLSOnly) {
		t.Errorf("got %v and the policy %s, want both statements", err, a.Policy.Value)
	}
}

// The policy that is written does what it is for: the embedded store enforces it.
func TestApply_PolicyTakesEffect(t *testing.T) {
	t.Parallel()
	c, _ := newClient(t)
	d := desired()
	d.RequireConditions = true
	if _, err := c.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &d.Bucket}); err != nil {
		t.Fatal(err)
	}
	p, _ := plan(t, c, d)
	if _, err := Apply(t.Context(), c, d, p, func(Outcome) {}); err != nil {
		t.Fatal(err)
	}
	put := func(c *s3.Client, key string, none *string) error {
		_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &d.Bucket, Key: &key, Body: strings.NewReader("x"), IfNoneMatch: none})
		return err
	}
	if err := put(c, "app/terraform.tfstate.tflock", nil); err == nil || !strings.Contains(err.Error(), "explicit deny") {
		t.Errorf("got %v, want a lock without a condition denied", err)
	}
	if err := put(c, "app/terraform.tfstate.tflock", aws.String("*")); err != nil {
		t.Error(err)
	}
	if err := put(c, "app/terraform.tfstate", nil); err != nil {
		t.Error(err)
	}
	plain := s3.New(c.Options(), func(o *s3.Options) { o.BaseEndpoint = aws.String(strings.Replace(tlsEndpoint, "https:", "http:", 1)) })
	if _, err := plain.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &d.Bucket}); err == nil || !strings.Contains(err.Error(), "explicit deny") {
		t.Errorf("got %v, want plain HTTP denied", err)
	}
}
