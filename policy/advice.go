package policy

import (
	"fmt"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/lazyre"
)

// Advice says why a call was denied, and who can change that, in whole sentences. It is empty where the error says it
// all.
func Advice(e *statelatch.StoreError) string {
	d := e.Denial()
	what := d.Action
	if what == "" {
		what = "the call"
	}
	kind := string(d.Policy)
	if kind == "" {
		kind = "policy"
	}
	named := kind
	if d.PolicyARN != "" {
		named += " (" + d.PolicyARN + ")"
	}
	article := "a "
	if strings.ContainsAny(kind[:1], "aeiou") {
		article = "an "
	}
	switch d.Cause {
	case statelatch.DenialExplicit:
		return fmt.Sprintf("%s is denied explicitly, by %s%s. Nothing that allows it elsewhere helps. %s", what, article,
			named, whose(d, e))
	case statelatch.DenialNoAllow:
		text := fmt.Sprintf("No %s allows %s. ", kind, what)
		switch {
		case d.Policy != statelatch.PolicyIdentity:
			return text + "It has to allow it as well; an IAM policy alone does not help. " + whose(d, e)
		case strings.HasPrefix(d.Action, "kms:"):
			return text + "The policy of the key must allow it, too, or leave it to IAM."
		}
		return text + whose(d, e)
	case statelatch.DenialKey:
		return "The encryption key cannot be used: it is disabled, is to be deleted, is in another region or does not " +
			"exist. Whoever manages the key " +
			"enables it again, or kms_key_id (or the bucket's default encryption) must name another. No policy helps."
	case statelatch.DenialPublicAccess:
		return "S3's Block Public Access refuses what would make something public. Do not ask for a public ACL (acl); no " +
			"IAM policy helps."
	case statelatch.DenialObjectLock:
		return "The version is retained by S3 Object Lock. It can be removed once its retention is over; no IAM policy helps."
	case statelatch.DenialMFA:
		return "A second factor (MFA) is demanded for this, or its code was wrong. Whoever has one makes the call; no " +
			"IAM policy helps."
	case statelatch.DenialEncryption:
		return "The bucket takes no objects with this kind of encryption. Leave out sse_customer_key " +
			"(AWS_SSE_CUSTOMER_KEY), or whoever owns the bucket " +
			"allows it in the bucket's encryption settings; no IAM policy helps."
	case statelatch.DenialAnonymous:
		return "The request was not signed, so it has no rights but those that the bucket gives to everybody. " +
			"Set credentials " +
			"(AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY); no IAM policy helps."
	case statelatch.DenialClock:
		return "The clock of this machine and that of the store differ by more than 15 minutes. Set the clock; the rights " +
			"are not the cause."
	case statelatch.DenialAccount:
		return "The account cannot use the service: it is suspended, unpaid or not signed up. Whoever owns the account " +
			"asks AWS; no policy helps."
	case statelatch.DenialRules:
		return "A gateway answered, and its rules decide: no IAM policy helps. Whoever runs it can change them " +
			"(docs/GATEWAY.md)."
	case statelatch.DenialGateway:
		return "A gateway answered, which lacks the right in the bucket behind it: no right of your own helps. Whoever " +
			"runs it gives its role what 'statelatch policy -role gateway' prints."
	case statelatch.DenialCredentials:
		return credentialsAdvice(e)
	}
	if strings.HasPrefix(d.Action, "sts:AssumeRoleWith") {
		return "STS gives no reason. The trust policy of the role must allow " + d.Action +
			" to whoever issued the token, and its conditions (aud, sub) must " +
			"fit the token. A role or a provider that does not exist is answered alike; no policy of the role's own helps."
	}
	if strings.HasPrefix(d.Action, "sts:") {
		return "STS gives no reason. Two must allow " + d.Action +
			": a policy of whoever assumes the role, and the trust policy of the role, whose conditions " +
			"(external_id, source_identity, tags, MFA) must hold. A role that does not exist is answered alike."
	}
	if d.Action == "" {
		return ""
	}
	if encodedReason.MatchString(e.Message) {
		return "The reason is encoded in the message. Whoever may call sts:DecodeAuthorizationMessage reads it: aws sts " +
			"decode-authorization-message " +
			"--encoded-message MESSAGE. What follows is a guess: that no policy allows " + what + " yet."
	}
	return "The store gives no reason, so what follows is a guess: that no policy allows " + what +
		" yet. If one does, a policy of the bucket, " +
		"its key, the VPC endpoint or the organization denies it, or the bucket belongs to somebody else."
}

var encodedReason = lazyre.New(`(?i)encoded authorization (?:failure )?message`)

// whose says who can change what denied it.
func whose(d statelatch.Denial, e *statelatch.StoreError) string {
	who := "whoever asks"
	if d.Principal != "" {
		who = d.Principal
	}
	service, _, _ := strings.Cut(d.Action, ":")
	switch d.Policy {
	case statelatch.PolicyIdentity:
		return "Whoever manages the policies of " + who + " can change that."
	case statelatch.PolicyBoundary:
		return "Whoever set the permissions boundary of " + who + " can change it."
	case statelatch.PolicySession:
		return "The session of " + who + " was given it when the role was assumed: policy and policy_arns in assume_role, " +
			"or what a login or CI system passes along."
	case statelatch.PolicyVPCEndpoint:
		return "Whoever runs the network can change the policy of the VPC endpoint; or reach the service another way."
	case statelatch.PolicyServiceControl:
		return "Only the administrators of the AWS organization can change it, nobody in the account of " + who + "."
	case statelatch.PolicyResourceControl:
		return "Only the administrators of the AWS organization that owns the resource can change it."
	case statelatch.PolicyResource:
		switch service {
		case "kms":
			return "It is the policy of the encryption key" + named(d.Resource) + ": whoever manages the key can change it."
		case "sts":
			return "It is the trust policy of the role" + named(d.Resource) + ": whoever manages the role can change it."
		case "dynamodb":
			return "It is the policy of the DynamoDB table " + e.Bucket + ": whoever owns the table can change it."
		}
		return "It is the policy of the bucket " + e.Bucket + ": whoever owns the bucket can change it, or the request " +
			"must meet its conditions."
	}
	return "The message names the policy; whoever manages it can change it."
}

func named(resource string) string {
	if resource == "" {
		return ""
	}
	return " " + resource
}

func credentialsAdvice(e *statelatch.StoreError) string {
	const no = " No policy helps."
	switch code := e.AnswerCode(); code {
	case "":
		return ""
	case "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired":
		return "The credentials have expired. Log in again (such as 'aws sso login') or renew them." + no
	case "SignatureDoesNotMatch", "InvalidSignatureException", "IncompleteSignature", "IncompleteSignatureException":
		return "The secret key does not belong to the access key, or something on the way changes requests. Look at " +
			"AWS_SECRET_ACCESS_KEY, " +
			"the profile and the proxy." + no
	case "MissingAuthenticationToken", "MissingAuthenticationTokenException":
		return "The request was not signed. Set credentials (AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)." +
			no
	}
	return "The credentials are not known there: they are of another store or account, were deleted or deactivated, or " +
		"lack their session token. " +
		"Look at AWS_ACCESS_KEY_ID, AWS_SESSION_TOKEN, AWS_PROFILE and the endpoint." + no
}
