package s3bucket

import (
	"crypto/md5"
	"encoding/base64"
	"fmt"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/statelatch/statelatch"
)

// Config says how to reach a bucket and how to encode its objects. Its fields are the arguments
// of the engines' backend "s3" under their Go names. A zero
// field means what an absent argument means to the engines, the environment variables
// that stand in for it included; the zero Config is "as the environment says".
type Config struct {
	// Region of the bucket. Empty: AWS_REGION, AWS_DEFAULT_REGION, the profile's; us-east-1 if
	// there is none and the S3 endpoint is a custom one.
	Region string
	// Endpoints override AWS's.
	Endpoints Endpoints
	// UsePathStyle puts the bucket's name into the path. It is the rule anyway where
	// the endpoint's host is an IP address or has no dot in it.
	UsePathStyle bool
	// UseFIPSEndpoint and UseDualStackEndpoint choose among AWS's own endpoints. False:
	// AWS_USE_FIPS_ENDPOINT and AWS_USE_DUALSTACK_ENDPOINT.
	UseFIPSEndpoint, UseDualStackEndpoint bool
	// SkipRegionValidation accepts a region that this version does not know. A custom
	// endpoint implies it.
	SkipRegionValidation bool

	// AccessKey and SecretKey are static credentials, Token their session token. Empty: AWS_ACCESS_KEY_ID,
	// AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, then the rest of the usual chain.
	AccessKey string
	SecretKey string `json:"-"` // see AccessKey; never in JSON
	Token     string `json:"-"` // see AccessKey; never in JSON
	// Profile of the shared files. Empty: AWS_PROFILE, then "default".
	Profile string
	// SharedConfigFiles and SharedCredentialsFiles; "~" is understood. Empty: AWS_CONFIG_FILE or
	// AWS_SHARED_CONFIG_FILE, AWS_SHARED_CREDENTIALS_FILE, then the files in ~/.aws.
	SharedConfigFiles, SharedCredentialsFiles []string
	// AssumeRole are roles to assume, each with the credentials of the one before. Empty: none.
	AssumeRole []AssumeRole
	// AssumeRoleWithWebIdentity, if not nil, replaces the chain of credentials.
	AssumeRoleWithWebIdentity *AssumeRoleWithWebIdentity
	// AllowedAccountIDs and ForbiddenAccountIDs exclude each other. Empty: any account will do and
	// none is asked for; otherwise [Open] asks STS whose credentials these are.
	AllowedAccountIDs, ForbiddenAccountIDs []string
	// STSRegion is where roles are assumed. Empty: in Region.
	STSRegion string

	// EC2MetadataServiceEndpoint and EC2MetadataServiceEndpointMode ("IPv4", "IPv6"). Empty:
	// AWS_EC2_METADATA_SERVICE_ENDPOINT (or AWS_METADATA_URL) and AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE.
	EC2MetadataServiceEndpoint, EC2MetadataServiceEndpointMode string
	// SkipMetadataAPICheck: true never asks the instance for credentials, false does even if
	// AWS_EC2_METADATA_DISABLED says otherwise. Nil: as that variable says.
	SkipMetadataAPICheck *bool

	// MaxRetries is the number of attempts of a read, the first included. 0: 5. Writes are tried once.
	MaxRetries int
	// RetryMode of reads: "standard" or "adaptive". Empty: AWS_RETRY_MODE, then "standard".
	RetryMode string
	// CustomCABundle is a file of PEM certificates to trust. Empty: AWS_CA_BUNDLE.
	CustomCABundle string
	// Insecure accepts any TLS certificate.
	Insecure bool
	// HTTPProxy and HTTPSProxy are proxy URLs by the scheme of the request; HTTPProxy serves both if
	// there is no other, as with terraform. Empty: HTTP_PROXY and HTTPS_PROXY.
	HTTPProxy, HTTPSProxy string
	// NoProxy lists hosts to reach directly, as NO_PROXY does, which stands in for it.
	NoProxy string

	// ExpectedBucketOwner is the account that the bucket must belong to, on every request; the store refuses others with
	// ErrDenied. Empty: whoever owns it.
	ExpectedBucketOwner string

	// ObjectOptions: how objects are written.
	ObjectOptions
	// Timeouts: zero fields get defaults.
	Timeouts Timeouts
}

// Endpoints are URLs of services; one without a scheme gets https. Empty: AWS_ENDPOINT_URL_S3 and its
// siblings, AWS_S3_ENDPOINT and its siblings, AWS_ENDPOINT_URL, the profile's, AWS's own.
type Endpoints struct {
	S3, STS, IAM, SSO string // S3's, and those of the services that credentials come from
}

// AssumeRole is one role to assume. Only RoleARN is needed.
type AssumeRole struct {
	RoleARN           string            // of the role; required
	Duration          time.Duration     // 0: STS's default of an hour
	ExternalID        string            // that the role's trust policy asks for; empty: none
	Policy            string            // JSON
	PolicyARNs        []string          // of managed policies that limit the session; empty: none
	SessionName       string            // empty: one is made up
	SourceIdentity    string            // that the session keeps; empty: none
	Tags              map[string]string // of the session; empty: none
	TransitiveTagKeys []string          // keys of Tags that further roles in the chain inherit
}

// AssumeRoleWithWebIdentity is a role to assume with an OIDC token. Empty fields: AWS_ROLE_ARN,
// AWS_ROLE_SESSION_NAME, AWS_WEB_IDENTITY_TOKEN and AWS_WEB_IDENTITY_TOKEN_FILE.
type AssumeRoleWithWebIdentity struct {
	RoleARN              string        // of the role
	Duration             time.Duration // 0: STS's default of an hour
	Policy               string        // JSON
	PolicyARNs           []string      // of managed policies that limit the session; empty: none
	SessionName          string        // of the session
	WebIdentityToken     string        `json:"-"` // the token itself, a secret
	WebIdentityTokenFile string        // a file that holds the token, read anew whenever credentials are
}

// String tells where the bucket is and nothing secret.
func (c Config) String() string {
	return fmt.Sprintf("region=%q endpoint=%q profile=%q", c.Region, c.Endpoints.S3, c.Profile)
}

// GoString is String, so that no format verb prints a secret.
func (c Config) GoString() string { return "s3bucket.Config{" + c.String() + "}" }

// ObjectOptions are how every object is encoded: states and locks alike, which a bucket
// policy demands (B21, B22).
type ObjectOptions struct {
	// Encrypt asks for server-side encryption: with KMSKeyID, else with SSECustomerKey, else
	// with the store's own key (AES256). False: no encryption header is sent, whatever the other fields say.
	Encrypt bool
	// KMSKeyID is a key ID, alias or ARN. It excludes SSECustomerKey.
	KMSKeyID string
	// SSECustomerKey is a 32 byte key in base64. Empty: [Open] takes AWS_SSE_CUSTOMER_KEY.
	SSECustomerKey string `json:"-"`
	// ACL is a canned ACL, such as "bucket-owner-full-control". Empty: none is sent.
	ACL string
	// StateTags and LockTags are the tags of lock objects and of all others. Empty: none are sent.
	StateTags, LockTags map[string]string
	// SkipS3Checksum sends Content-MD5 in place of the SHA-256 checksum, for stores that do not know the latter.
	SkipS3Checksum bool
}

// Unset are the arguments of backend "s3" that a bucket's policy may demand of writes, and that are not set.
func (o ObjectOptions) Unset() (arguments []string) {
	if !o.Encrypt {
		arguments = append(arguments, "encrypt")
	}
	if o.KMSKeyID == "" && o.SSECustomerKey == "" {
		arguments = append(arguments, "kms_key_id")
	}
	if o.ACL == "" {
		arguments = append(arguments, "acl")
	}
	return arguments
}

func (o ObjectOptions) validate() error {
	if o.SSECustomerKey == "" {
		return nil
	}
	if o.KMSKeyID != "" {
		return fmt.Errorf("%w sse_customer_key: it cannot be combined with kms_key_id (is AWS_SSE_CUSTOMER_KEY set?); "+
			"give one of them", statelatch.ErrInvalid)
	}
	if key, err := base64.StdEncoding.DecodeString(o.SSECustomerKey); err != nil || len(key) != 32 {
		return fmt.Errorf("%w sse_customer_key: want 32 bytes in base64, which is 44 characters; got %d characters",
			statelatch.ErrInvalid, len(o.SSECustomerKey))
	}
	return nil
}

// customerKey returns the values of the three SSE-C headers, nil if they are not to be sent.
func (o ObjectOptions) customerKey() (algorithm, key, sum *string) {
	if !o.Encrypt || o.SSECustomerKey == "" {
		return nil, nil, nil
	}
	raw, _ := base64.StdEncoding.DecodeString(o.SSECustomerKey) // validate has seen it
	md5sum := md5.Sum(raw)
	return aws.String("AES256"), aws.String(o.SSECustomerKey), aws.String(base64.StdEncoding.EncodeToString(md5sum[:]))
}

func (o ObjectOptions) applyToHead(in *s3.HeadObjectInput) {
	in.SSECustomerAlgorithm, in.SSECustomerKey, in.SSECustomerKeyMD5 = o.customerKey()
}

func (o ObjectOptions) applyToGet(in *s3.GetObjectInput) {
	in.SSECustomerAlgorithm, in.SSECustomerKey, in.SSECustomerKeyMD5 = o.customerKey()
}

func (o ObjectOptions) applyToPut(in *s3.PutObjectInput) {
	in.ACL = types.ObjectCannedACL(o.ACL)
	tags := o.StateTags
	if statelatch.IsLockKey(*in.Key) {
		tags = o.LockTags
	}
	if len(tags) > 0 {
		query := make(url.Values, len(tags))
		for k, v := range tags {
			query.Set(k, v)
		}
		in.Tagging = aws.String(query.Encode())
	}
	switch {
	case !o.Encrypt:
	case o.KMSKeyID != "":
		in.ServerSideEncryption = types.ServerSideEncryptionAwsKms
		in.SSEKMSKeyId = aws.String(o.KMSKeyID)
	case o.SSECustomerKey != "":
		in.SSECustomerAlgorithm, in.SSECustomerKey, in.SSECustomerKeyMD5 = o.customerKey()
	default:
		in.ServerSideEncryption = types.ServerSideEncryptionAes256
	}
}
