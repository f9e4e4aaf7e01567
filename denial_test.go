package statelatch

import "testing"

// AWS's words for a denial, as its services and its documentation have them.
func TestStoreError_Denial(t *testing.T) {
	t.Parallel()
	const (
		session = "arn:aws:sts::111122223333:assumed-role/ci/run-1"
		object  = "arn:aws:s3:::acme/app/terraform.tfstate"
		key     = "arn:aws:kms:eu-west-1:444455556666:key/1234abcd-12ab-34cd-56ef-1234567890ab"
		scp     = "arn:aws:organizations::999988887777:policy/o-example/service_control_policy/p-example"
		put     = "User: " + session + " is not authorized to perform: s3:PutObject on resource: \"" + object + "\" "
		said    = "s3:PutObject"
	)
	because := func(p PolicyType) string { return put + "because no " + string(p) + " allows the s3:PutObject action" }
	explicit := func(p string) string { return put + "with an explicit deny in " + p }
	denial := func(c DenialCause, p PolicyType) Denial {
		return Denial{Cause: c, Policy: p, Principal: session, Action: said, Resource: object}
	}
	withARN := denial(DenialExplicit, PolicyServiceControl)
	withARN.PolicyARN = scp
	for _, tc := range []struct {
		code, message string
		want          Denial
	}{
		{"AccessDenied", because(PolicyIdentity), denial(DenialNoAllow, PolicyIdentity)},
		{"AccessDenied", because(PolicyResource), denial(DenialNoAllow, PolicyResource)},
		{"AccessDenied", because(PolicyBoundary), denial(DenialNoAllow, PolicyBoundary)},
		{"AccessDenied", because(PolicySession), denial(DenialNoAllow, PolicySession)},
		{"AccessDenied", because(PolicyVPCEndpoint), denial(DenialNoAllow, PolicyVPCEndpoint)},
		{"AccessDenied", because(PolicyServiceControl), denial(DenialNoAllow, PolicyServiceControl)},
		{"AccessDenied", because(PolicyResourceControl), denial(DenialNoAllow, PolicyResourceControl)},
		{"AccessDenied", explicit("an identity-based policy"), denial(DenialExplicit, PolicyIdentity)},
		{"AccessDenied", explicit("a resource-based policy"), denial(DenialExplicit, PolicyResource)},
		{"AccessDenied", explicit("a permissions boundary"), denial(DenialExplicit, PolicyBoundary)},
		{"AccessDenied", explicit("a session policy"), denial(DenialExplicit, PolicySession)},
		{"AccessDenied", explicit("a VPC endpoint policy"), denial(DenialExplicit, PolicyVPCEndpoint)},
		{"AccessDenied", explicit("a resource control policy"), denial(DenialExplicit, PolicyResourceControl)},
		{"AccessDenied", explicit("the\nservice control policy."), denial(DenialExplicit, PolicyServiceControl)},
		{"AccessDenied", explicit("a service control policy: " + scp), withARN},
		{"AccessDenied", explicit("a service control policy, with policy ARN: " + scp + "."), withARN},
		{"AccessDenied", explicit("a network guardrail policy"), denial(DenialExplicit, "network guardrail policy")},
		{"AccessDenied", put + "with an explicit deny", denial(DenialExplicit, "")},
		{
			"AccessDenied", "User: " + session + " is not authorized to perform: kms:GenerateDataKey on resource: " + key +
				" because no resource-based policy allows the kms:GenerateDataKey action",
			Denial{Cause: DenialNoAllow, Policy: PolicyResource, Principal: session, Action: "kms:GenerateDataKey", Resource: key},
		},
		{
			"AccessDenied", "User: " + session + " is not authorized to perform: s3:PutObject because no VPC endpoint policy allows the s3:PutObject action",
			Denial{Cause: DenialNoAllow, Policy: PolicyVPCEndpoint, Principal: session, Action: said},
		},
		{
			"AccessDenied", "User: anonymous is not authorized to perform: s3:PutObject on resource: \"" + object +
				"\" because no resource-based policy allows the s3:PutObject action",
			Denial{Cause: DenialAnonymous, Policy: PolicyResource, Principal: "anonymous", Action: said, Resource: object},
		},
		{"AccessDenied", "Access Denied", Denial{Cause: DenialUnknown, Action: said}},
		{"AccessDenied", "Access Denied because object protected by object lock.", Denial{Cause: DenialObjectLock, Action: said}},
		{"AccessDenied", "Mfa Authentication must be used for this request", Denial{Cause: DenialMFA, Action: said}},
		{
			"AccessDenied", put + "because public access control lists (ACLs) are blocked by the BlockPublicAcls block public access setting.",
			denial(DenialPublicAccess, ""),
		},
		{
			"AccessDenied", "The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not allowed to access.",
			Denial{Cause: DenialKey, Action: said},
		},
		{
			"AccessDenied", "User: " + session + " is not authorized to perform: kms:Decrypt on resource: " + key +
				" because the resource does not exist in this Region, no resource-based policies allow access, or a resource-based policy explicitly denies access",
			Denial{Cause: DenialNoAllow, Policy: PolicyResource, Principal: session, Action: "kms:Decrypt", Resource: key},
		},
		{
			"KMS.AccessDeniedException", "User: " + session + " is not authorized to perform: kms:Decrypt on the resource associated with this ciphertext because the resource " +
				"does not exist in this Region, no resource-based policies allow access, or a resource-based policy explicitly denies access",
			Denial{Cause: DenialNoAllow, Policy: PolicyResource, Principal: session, Action: "kms:Decrypt"},
		},
		{"AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity", Denial{Cause: DenialUnknown, Action: "sts:AssumeRoleWithWebIdentity"}},
		{"AccessDenied", "MultiFactorAuthentication failed with invalid MFA one time pass code.", Denial{Cause: DenialMFA, Action: said}},
		{"AccessDenied", "Anonymous users cannot invoke this API. Please authenticate.", Denial{Cause: DenialAnonymous, Action: said}},
		{"AccessDenied", "There is an explicit deny in a service control policy.", Denial{Cause: DenialExplicit, Policy: PolicyServiceControl, Action: said}},
		{"UserSuspended", "", Denial{Cause: DenialAccount}},
		{"KMS.DisabledException", key + " is disabled.", Denial{Cause: DenialKey, Action: said}},
		{"KMS.NotFoundException", "Invalid keyId 'x'", Denial{Cause: DenialKey, Action: said}},
		{"InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.", Denial{Cause: DenialCredentials}},
		{"SignatureDoesNotMatch", "", Denial{Cause: DenialCredentials}},
		{"ExpiredToken", "The provided token has expired.", Denial{Cause: DenialCredentials}},
		{"RequestTimeTooSkewed", "", Denial{Cause: DenialClock}},
		{"AllAccessDisabled", "All access to this object has been disabled", Denial{Cause: DenialAccount}},
		// What gateways say.
		{
			"AccessDenied", "User: key:ana is not authorized to perform: statelatch:write on resource: \"prod/tf\" because the rule \"with an explicit deny\" gives only read, lock",
			Denial{Cause: DenialRules, Principal: "key:ana", Action: "statelatch:write", Resource: "prod/tf"},
		},
		{
			"AccessDenied", "User: key:ana is not authorized to perform: statelatch:read on resource: \"prod/tf\" because no rule gives them anything there",
			Denial{Cause: DenialRules, Principal: "key:ana", Action: "statelatch:read", Resource: "prod/tf"},
		},
		{"AccessDenied", "prod/tf: this gateway serves s3://acme/team-a alone", Denial{Cause: DenialRules, Action: said}},
		{
			"AccessDenied", "The gateway itself may not put this object in the bucket: its rights there are too few, see 'statelatch policy -role gateway'.",
			Denial{Cause: DenialGateway, Action: said},
		},
	} {
		e := &StoreError{Kind: ErrDenied, Op: "put", Bucket: "acme", Status: 403, Code: tc.code, Message: tc.message, Action: said}
		if got := e.Denial(); got != tc.want {
			t.Errorf("%s %q:\n got %+v\nwant %+v", tc.code, tc.message, got, tc.want)
		}
	}
}
