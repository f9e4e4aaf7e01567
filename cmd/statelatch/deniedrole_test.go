package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// STS refuses to assume a role: both policies that must allow it are named, and no S3 policy is printed.
func TestDenied_AssumeRole(t *testing.T) {
	t.Parallel()
	const role = "arn:aws:iam::111122223333:role/state"
	sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>AccessDenied</Code>`+
			`<Message>User: arn:aws:iam::444455556666:user/ci is not authorized to perform: sts:AssumeRole on resource: %s</Message></Error></ErrorResponse>`, role)
	}))
	t.Cleanup(sts.Close)
	s := newShell(t).withStore()
	s.flags = append(s.flags, "-backend-config", `assume_role={role_arn="`+role+`"}`, "-backend-config", `endpoints={s3="`+s.url+`",sts="`+sts.URL+`"}`)
	o := s.run("status", demoRef)
	s.want(o, exitDenied, "the trust policy of the role", `"sts:AssumeRole"`, role)
	if strings.Contains(o.err, `"s3:`) {
		t.Errorf("rights to S3 are not what is missing: %s", o.err)
	}
}
