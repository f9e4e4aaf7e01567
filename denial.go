package statelatch

import (
	"errors"
	"strings"

	"github.com/statelatch/statelatch/internal/lazyre"
)

// DenialCause is what kind of reason a store has to deny a call.
type DenialCause string

// The causes.
const (
	DenialUnknown      DenialCause = "unknown"             // the store gives no reason
	DenialNoAllow      DenialCause = "no_allow"            // no policy of a kind that must allow it does
	DenialExplicit     DenialCause = "explicit_deny"       // a policy denies it; nothing that allows it helps
	DenialCredentials  DenialCause = "credentials"         // they are missing, unknown, wrong or expired
	DenialAnonymous    DenialCause = "anonymous"           // the request was not signed
	DenialClock        DenialCause = "clock"               // the clocks differ by more than signatures allow
	DenialAccount      DenialCause = "account"             // the account may use the service no more, or not yet
	DenialKey          DenialCause = "kms_key"             // the encryption key is disabled, deleted or unknown
	DenialPublicAccess DenialCause = "public_access_block" // an ACL or a policy would make something public
	DenialObjectLock   DenialCause = "object_lock"         // a version is retained
	DenialMFA          DenialCause = "mfa"                 // the bucket demands a second factor
	DenialEncryption   DenialCause = "encryption_blocked"  // the bucket takes no objects that are encrypted this way
	DenialRules        DenialCause = "gateway_rules"       // the rules of a gateway do not allow it
	DenialGateway      DenialCause = "gateway_rights"      // a gateway may not do it in the bucket behind it
)

// PolicyType is a kind of policy, in AWS's words. A kind that AWS invents later keeps the words of the message.
type PolicyType string

// The kinds of policy.
const (
	PolicyIdentity        PolicyType = "identity-based policy"   // of the user or role that asked
	PolicyResource        PolicyType = "resource-based policy"   // of the bucket, key or table
	PolicyBoundary        PolicyType = "permissions boundary"    // the limit of a user or role
	PolicySession         PolicyType = "session policy"          // that the session was begun with
	PolicyVPCEndpoint     PolicyType = "VPC endpoint policy"     // of the endpoint in the network
	PolicyServiceControl  PolicyType = "service control policy"  // of the organization, for its accounts
	PolicyResourceControl PolicyType = "resource control policy" // of the organization, for its resources
)

// Denial is why a call was denied, as far as the store says. It is read from the words of an answer, which are nobody's
// promise: it chooses advice and decides nothing. What the words do not tell is empty.
type Denial struct {
	Cause     DenialCause // why; empty: the words do not tell
	Policy    PolicyType  // that denies, or does not allow
	PolicyARN string      // of the policy that denies
	Principal string      // the ARN of who asked
	Action    string      // that was denied: maybe of another service than that of the call, such as kms:Decrypt
	Resource  string      // the ARN that was asked for
}

var (
	unauthorized = lazyre.New(`(?i)(?:\bUser: (\S+) is )?\bnot authorized to perform:? ?([a-z0-9-]+:[a-z0-9*]+)(?:,? on (?:the )?resource:? (?:"([^"]+)"|(arn:[^\s"]+|\*)))?`)
	noAllow      = lazyre.New(`(?i)\bbecause no ([a-z -]*?(?:policy|policies|boundary)) allows?\b`)
	// KMS's words for three causes at once
	keyRefuses   = lazyre.New(`(?i)\bno resource-based policies allow access\b`)
	explicitDeny = lazyre.New(`(?i)\b(?:with|is) an explicit deny(?: in (?:an?|the) ([a-z -]*?(?:policy|boundary))\b)?`)
	policyARN    = lazyre.New(`(?i)(?:policy|boundary)(?:,? with (?:the )?policy ARN)?: ?(arn:\S+)`)
	keyUnusable  = lazyre.New(`(?i)refers to a (?:customer master|kms) key that does not exist|^(?:key )?'?arn:[a-z-]+:kms:\S+ (?:is (?:disabled|pending)|does not exist)`)
	samePolicies = strings.NewReplacer("permission boundary", "permissions boundary", "identity policy",
		"identity-based policy",
		"bucket policy", "resource-based policy", "resource policy", "resource-based policy", "vpc endpoint", "VPC endpoint")
)

// codeCauses are the codes that tell a cause by themselves.
var codeCauses = map[string]DenialCause{
	"ExpiredToken": DenialCredentials, "ExpiredTokenException": DenialCredentials,
	"TokenRefreshRequired": DenialCredentials,
	"InvalidAccessKeyId":   DenialCredentials, "InvalidClientTokenId": DenialCredentials,
	"UnrecognizedClientException": DenialCredentials,
	"InvalidToken":                DenialCredentials, "InvalidIdentityToken": DenialCredentials,
	"InvalidSecurity":       DenialCredentials,
	"SignatureDoesNotMatch": DenialCredentials, "InvalidSignatureException": DenialCredentials,
	"IncompleteSignature":          DenialCredentials,
	"IncompleteSignatureException": DenialCredentials, "MissingAuthenticationToken": DenialCredentials,
	"MissingAuthenticationTokenException": DenialCredentials, "RequestExpired": DenialCredentials,
	"AuthFailure": DenialCredentials,

	"RequestTimeTooSkewed": DenialClock,

	"AccountProblem": DenialAccount, "AllAccessDisabled": DenialAccount, "NotSignedUp": DenialAccount,
	"OptInRequired":      DenialAccount,
	"UnauthorizedAccess": DenialAccount, "UserSuspended": DenialAccount, "InvalidPayer": DenialAccount,
}

// RefusalCause is why the error code of an answer alone, whatever status it comes with, refuses whoever asks; false for
// a code that tells nothing of that, such as AccessDenied.
func RefusalCause(code string) (DenialCause, bool) {
	cause, ok := codeCauses[code]
	return cause, ok
}

// answer is the code and the message of the answer, which may be that of another service: STS, when a role is assumed.
func (e *StoreError) answer() (code, message string) {
	other, ok := errors.AsType[interface {
		error
		ErrorCode() string
		ErrorMessage() string
	}](e.Err)
	if e.Code == "" && ok {
		return other.ErrorCode(), other.ErrorMessage()
	}
	return e.Code, e.Message
}

// AnswerCode is Code, or that of the service that the credentials come from, where it refused.
func (e *StoreError) AnswerCode() string {
	code, _ := e.answer()
	return code
}

// Denial reads why a call was denied. It is of use only for an error of kind [ErrDenied].
func (e *StoreError) Denial() Denial {
	code, message := e.answer()
	if cause, ok := codeCauses[code]; ok || code == "" && e.Status == 0 && e.Action == "" {
		if !ok {
			cause = DenialCredentials // there are none
		}
		return Denial{Cause: cause}
	}
	d := readDenial(strings.Join(strings.Fields(message), " "))
	if d.Action == "" {
		d.Action = e.Action
	}
	if strings.HasPrefix(code, "KMS.") && d.Cause == DenialUnknown && code != "KMS.AccessDeniedException" {
		d.Cause = DenialKey
	}
	return d
}

// Unexplained reports whether a call was denied that needs e.Action, and no reason was given: that it is missing is
// likely.
func (e *StoreError) Unexplained() bool {
	return e.Action != "" && e.Denial() == Denial{Cause: DenialUnknown, Action: e.Action}
}

// readDenial reads AWS's words.
func readDenial(text string) Denial {
	d := Denial{Cause: DenialUnknown}
	if m := unauthorized.FindStringSubmatch(text); m != nil {
		d.Principal, d.Action, d.Resource = m[1], m[2], m[3]
		if d.Resource == "" {
			d.Resource = strings.TrimRight(m[4], ".,;")
		}
	}
	has := func(words string) bool { return strings.Contains(strings.ToLower(text), words) }
	deny, allow := explicitDeny.FindStringSubmatch(text), noAllow.FindStringSubmatch(text)
	switch {
	case strings.HasPrefix(d.Action, "statelatch:"), has("this gateway serves "):
		d.Cause = DenialRules
	case has("the gateway itself may not "):
		d.Cause = DenialGateway
	case deny != nil:
		d.Cause, d.Policy = DenialExplicit, policyType(deny[1])
	case allow != nil:
		d.Cause, d.Policy = DenialNoAllow, policyType(allow[1])
	case keyRefuses.MatchString(text):
		d.Cause, d.Policy = DenialNoAllow, PolicyResource
	case keyUnusable.MatchString(text):
		d.Cause = DenialKey
	case has("block public access"), has("blockpublic"):
		d.Cause = DenialPublicAccess
	case has("object lock"):
		d.Cause = DenialObjectLock
	case has("mfa authentication"), has("multi-factor"), has("multifactor"):
		d.Cause = DenialMFA
	case has("encryption") && has("block"), has("sse-c"):
		d.Cause = DenialEncryption
	}
	if m := policyARN.FindStringSubmatch(text); m != nil && d.Policy != "" {
		d.PolicyARN = strings.TrimRight(m[1], ".,;)")
	}
	if (d.Principal == "anonymous" || has("anonymous users cannot") || has("anonymous access is")) &&
		d.Cause != DenialExplicit {
		d.Cause = DenialAnonymous
	}
	return d
}

func policyType(words string) PolicyType {
	words = strings.ToLower(words)
	words = strings.TrimSuffix(words, "policies")
	if strings.HasSuffix(words, " ") {
		words += "policy"
	}
	return PolicyType(samePolicies.Replace(words))
}
