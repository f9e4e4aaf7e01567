// Package stsdoor speaks AWS's Security Token Service, as far as clients of a gateway need it: they exchange a token of
// an issuer (AssumeRoleWithWebIdentity) or a static key (AssumeRole) for a session, and ask who they are
// (GetCallerIdentity). It knows no rule: what is begun is a session of [session.Registry], which gives no right.
//
// It may be served on the address of an S3 endpoint, which has no such requests; see [Is]. A role's ARN must be given,
// as AWS's clients do, and means nothing: what somebody may do is in the rules. Parameters that would make a session
// weaker, such as Policy, are refused, not ignored.
package stsdoor

import (
	"context"
	"crypto/rand"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/statelatch/statelatch/gateway/access"
	"github.com/statelatch/statelatch/gateway/session"
	"github.com/statelatch/statelatch/s3/s3model"
	"github.com/statelatch/statelatch/s3/sigv4"
)

const (
	apiVersion = "2011-06-15"
	namespace  = "https://sts.amazonaws.com/doc/2011-06-15/"

	maxBody  = 64 << 10         // bytes of a request
	bodyTime = 10 * time.Second // for it
)

// Config is what a door needs. Registry is required.
type Config struct {
	Registry *session.Registry // whom keys and tokens name
	// Verified, if not nil, is called with the context of each request whose token or signature is right.
	Verified func(context.Context)
	// Logger gets each session at Info, each request at Debug and what failed at Error, never a token; nil discards it.
	Logger *slog.Logger
	Now    func() time.Time // the clock of signatures; nil means time.Now
}

type door struct {
	Config
	verifier *sigv4.Verifier
}

// New returns a handler for the requests that [Is] knows. It panics without a Registry.
func New(cfg Config) http.Handler {
	if cfg.Registry == nil {
		panic("stsdoor: Config needs a Registry")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &door{cfg, &sigv4.Verifier{Lookup: cfg.Registry.Lookup, Now: cfg.Now, Service: "sts"}}
}

// Is says whether a request is one for STS, where S3 has the same address: a form that is posted to the root, or a
// query with an action.
func Is(r *http.Request) bool {
	if r.URL.Path != "/" {
		return false
	}
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return r.Method == http.MethodPost && r.URL.RawQuery == "" && kind == "application/x-www-form-urlencoded" ||
		strings.Contains("&"+r.URL.RawQuery, "&Action=")
}

// call is one request on its way through the door.
type call struct {
	*door
	r    *http.Request
	body []byte
	form url.Values
	id   string
}

// ServeHTTP implements http.Handler.
func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{door: d, r: r, id: newRequestID()}
	start := time.Now()
	h := w.Header()
	h.Set("Server", "Statelatch")
	h.Set("X-Amzn-Requestid", c.id)
	h.Set("Content-Type", "text/xml")
	h.Set("Cache-Control", "no-store")
	status := http.StatusOK
	doc, err := c.serve(w)
	if err != nil {
		var refused *s3model.Error
		if !errors.As(err, &refused) {
			refused = fail("InternalFailure", http.StatusInternalServerError, "The gateway failed; its log says why.")
			refused.Err = err
		}
		if status = refused.Status; status >= http.StatusInternalServerError {
			d.Logger.LogAttrs(r.Context(), slog.LevelError, "request failed", slog.String("request", c.id),
				slog.String("op", c.action()), slog.Any("err", refused.Err))
		}
		if status == http.StatusMethodNotAllowed {
			h.Set("Allow", http.MethodPost)
		}
		doc = errorDocument(refused, c.id)
	}
	body, err := xml.Marshal(doc)
	if err != nil {
		panic(err) // of our own documents there is none
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that is gone needs no answer
	d.Logger.LogAttrs(r.Context(), slog.LevelDebug, "request", slog.String("request", c.id), slog.String("op", c.action()),
		slog.Int("status", status), slog.Duration("took", time.Since(start)))
}

// action is the name of what is asked, for the log.
func (c *call) action() string {
	if _, ok := actions[c.form.Get("Action")]; ok {
		return c.form.Get("Action")
	}
	return ""
}

// actions are what the door does, and the parameters that each has.
var actions = map[string]struct {
	do         func(*call) (any, error)
	parameters string
}{
	"AssumeRoleWithWebIdentity": {(*call).assumeByToken, " RoleArn RoleSessionName WebIdentityToken DurationSeconds "},
	"AssumeRole":                {(*call).assumeByKey, " RoleArn RoleSessionName DurationSeconds "},
	"GetCallerIdentity":         {(*call).identity, " "},
}

func (c *call) serve(w http.ResponseWriter) (any, error) {
	if c.r.Method != http.MethodPost {
		return nil, fail("InvalidAction", http.StatusMethodNotAllowed, "Send the parameters by POST, as a form.")
	}
	if !Is(c.r) || c.r.URL.RawQuery != "" {
		return nil, fail("InvalidAction", http.StatusBadRequest, "Send the parameters as a form, to /.")
	}
	if err := c.read(w); err != nil {
		return nil, err
	}
	name := c.form.Get("Action")
	action, ok := actions[name]
	switch {
	case name == "":
		return nil, fail("MissingAction", http.StatusBadRequest, "The parameter Action is missing.")
	case !ok:
		return nil, fail("InvalidAction", http.StatusBadRequest, "Could not find operation %s for version %s; this door has "+
			"AssumeRoleWithWebIdentity, AssumeRole and GetCallerIdentity.", quoted(name), apiVersion)
	case c.form.Get("Version") != apiVersion:
		return nil, fail("InvalidAction", http.StatusBadRequest, "Could not find operation %s for version %s, want version "+
			"%s.", name, quoted(c.form.Get("Version")), apiVersion)
	}
	for parameter, values := range c.form {
		switch {
		case len(values) != 1:
			return nil, invalid("The parameter %s is there %d times, want one.", quoted(parameter), len(values))
		case parameter == "Action" || parameter == "Version":
		case !strings.Contains(action.parameters, " "+parameter+" ") || parameter == "":
			return nil, invalid("The parameter %s is not supported by this gateway: leave it out. What a session may do is in "+
				"the gateway's rules.", quoted(parameter))
		}
	}
	return action.do(c)
}

// read reads the form.
func (c *call) read(w http.ResponseWriter) error {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime)) // where there are deadlines
	var err error
	c.body, err = io.ReadAll(http.MaxBytesReader(w, c.r.Body, maxBody))
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &long):
		return fail("RequestEntityTooLarge", http.StatusRequestEntityTooLarge, "The request is longer than %d bytes.",
			maxBody)
	case err != nil:
		return fail("RequestTimeout", http.StatusRequestTimeout, "The body of the request did not come.")
	case !utf8.Valid(c.body):
		return invalid("The body of the request is not UTF-8.")
	}
	if c.form, err = sigv4.ParseQuery(string(c.body)); err != nil {
		return invalid("The body of the request is not a form.")
	}
	return nil
}

// signed verifies the signature of the request and says who signed.
func (c *call) signed() (*sigv4.Signature, access.Session, error) {
	signature, err := c.verifier.VerifyWhole(c.r, c.body)
	if err != nil {
		return nil, access.Session{}, ofSTS(err)
	}
	c.verified()
	who, _ := signature.Who.(access.Session)
	return signature, who, nil
}

func (c *call) verified() {
	if c.Verified != nil {
		c.Verified(c.r.Context())
	}
}

func (c *call) identity() (any, error) {
	signature, who, err := c.signed()
	if err != nil {
		return nil, err
	}
	return &identityDocument{
		XMLNS: namespace, ARN: arn(who.Principal), UserID: signature.AccessKeyID, Account: s3model.Account, RequestID: c.id,
	}, nil
}

func (c *call) assumeByToken() (any, error) {
	lasts, err := c.parameters()
	if err != nil {
		return nil, err
	}
	token := c.form.Get("WebIdentityToken")
	if token == "" {
		return nil, invalid("The parameter WebIdentityToken is missing.")
	}
	who, err := c.Registry.Identify(c.r.Context(), token)
	switch {
	case errors.Is(err, session.ErrTokenExpired):
		return nil, fail("ExpiredTokenException", http.StatusBadRequest, "%s", sentence(err))
	case errors.Is(err, session.ErrIssuer):
		return nil, fail("IDPCommunicationError", http.StatusBadRequest, "%s", sentence(err))
	case err != nil:
		return nil, fail("InvalidIdentityToken", http.StatusBadRequest, "%s", sentence(err))
	}
	c.verified()
	begun, err := c.begin(who, lasts)
	if err != nil {
		return nil, err
	}
	claims := who.Principal.Claims
	return &byTokenDocument{XMLNS: namespace, RequestID: c.id, Result: byToken{
		begun: *begun, Subject: claims["sub"], Audience: strings.ReplaceAll(claims["aud"], "\n", " "),
		Provider: claims["iss"],
	}}, nil
}

func (c *call) assumeByKey() (any, error) {
	_, who, err := c.signed()
	if err != nil {
		return nil, err
	}
	if who.ID != "" {
		return nil, fail("AccessDenied", http.StatusForbidden, "User: %s is not authorized to perform: sts:AssumeRole "+
			"because the request is signed by a session; sign it with the key itself.", arn(who.Principal))
	}
	lasts, err := c.parameters()
	if err != nil {
		return nil, err
	}
	if lasts == unasked {
		lasts = 0
	}
	begun, err := c.begin(who, lasts)
	if err != nil {
		return nil, err
	}
	return &byKeyDocument{XMLNS: namespace, RequestID: c.id, Result: *begun}, nil
}

// unasked is for how long AWS's SDK for Go assumes a role where nobody says for how long. Then it begins another
// session in the middle of what an engine does, which would be another process's: so it counts as no wish at all.
const unasked = 15 * time.Minute

// What AWS says of DurationSeconds.
const (
	minDuration = int(access.MinSession / time.Second)
	maxDuration = int(access.MaxSession / time.Second)
)

var sessionName = regexp.MustCompile(`^[a-zA-Z0-9_+=,.@-]+$`)

// parameters checks those that both kinds of AssumeRole have, and returns how long the session is to last.
func (c *call) parameters() (time.Duration, error) {
	for name, most := range map[string]int{"RoleArn": 2048, "RoleSessionName": 64} {
		value := c.form.Get(name)
		if n := utf8.RuneCountInString(value); n < 2 || n > most {
			return 0, invalid("The parameter %s has %d characters, want 2 to %d.", name, n, most)
		}
	}
	if !sessionName.MatchString(c.form.Get("RoleSessionName")) {
		return 0, invalid("The parameter RoleSessionName has other characters than letters, digits and _+=,.@-.")
	}
	if !c.form.Has("DurationSeconds") {
		return 0, nil
	}
	text := c.form.Get("DurationSeconds")
	seconds, err := strconv.Atoi(text)
	if err != nil || seconds < minDuration || seconds > maxDuration {
		return 0, invalid("The parameter DurationSeconds is %s, want a number from %d to %d.", quoted(text), minDuration,
			maxDuration)
	}
	return time.Duration(seconds) * time.Second, nil
}

func (c *call) begin(who access.Session, lasts time.Duration) (*begun, error) {
	s, credentials, err := c.Registry.Begin(who, lasts)
	switch {
	case errors.Is(err, session.ErrNoSessions):
		return nil, fail("AccessDenied", http.StatusForbidden, "%s", sentence(err))
	case errors.Is(err, session.ErrToken):
		return nil, fail("InvalidIdentityToken", http.StatusBadRequest, "%s", sentence(err))
	case err != nil:
		return nil, err
	}
	c.Logger.LogAttrs(c.r.Context(), slog.LevelInfo, "session begun", slog.String("request", c.id),
		slog.String("session", s.ID), slog.String("principal", s.Principal.Name), slog.Time("expires", s.Expires))
	return &begun{
		ARN: arn(s.Principal), ID: s.ID + ":" + c.form.Get("RoleSessionName"),
		AccessKeyID: credentials.AccessKeyID, Secret: credentials.SecretAccessKey, Token: credentials.SessionToken,
		Expiration: s.Expires.UTC().Format(time.RFC3339),
	}, nil
}

// arn is a principal as AWS would name it.
func arn(p access.Principal) string {
	if p.Key != "" {
		return "arn:aws:iam::" + s3model.Account + ":user/" + p.Key
	}
	return "arn:aws:sts::" + s3model.Account + ":assumed-role/" + p.Issuer + "/" + strings.TrimPrefix(p.Name, p.Issuer+":")
}

// ofSTS is a refusal of sigv4 under the code that STS has for it.
func ofSTS(err error) error {
	var e *s3model.Error
	if !errors.As(err, &e) {
		return err
	}
	codes := map[string]struct {
		code   string
		status int
	}{
		"AccessDenied":                 {"MissingAuthenticationToken", http.StatusForbidden},
		"InvalidAccessKeyId":           {"InvalidClientTokenId", http.StatusForbidden},
		"InvalidToken":                 {"InvalidClientTokenId", http.StatusForbidden},
		"ExpiredToken":                 {"ExpiredToken", http.StatusForbidden},
		"AuthorizationHeaderMalformed": {"IncompleteSignature", http.StatusBadRequest},
		"XAmzContentSHA256Mismatch":    {"SignatureDoesNotMatch", http.StatusForbidden},
	}
	to, ok := codes[e.Code]
	if !ok {
		return e
	}
	mapped := *e
	mapped.Code, mapped.Status = to.code, to.status
	return &mapped
}

func fail(code string, status int, format string, args ...any) *s3model.Error {
	return &s3model.Error{Code: code, Status: status, Message: fmt.Sprintf(format, args...)}
}

func invalid(format string, args ...any) *s3model.Error {
	return fail("ValidationError", http.StatusBadRequest, format, args...)
}

// sentence is the text of an error, as messages are written.
func sentence(err error) string {
	text := err.Error()
	return strings.ToUpper(text[:1]) + text[1:] + "."
}

// quoted is what a client has sent, short enough to be shown.
func quoted(text string) string {
	const most = 100
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	return strconv.Quote(text)
}

// newRequestID has the form of AWS's.
func newRequestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
