package evidence

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/statelatch/statelatch"
)

const (
	askTimeout = 5 * time.Second
	maxAnswer  = 1 << 20
	// asked is for how long an answer is good that may change, and a service left alone that refuses.
	asked = time.Minute
)

// RunState is what a CI system says of a run.
type RunState string

// The states of runs. The zero RunState: it is not known.
const (
	RunEnded  RunState = "ended"   // all that ran for it has ended, but see Answer.JobsLeft
	RunGoesOn RunState = "running" // it waits, or is at work
)

// Answer is what is known of a CI run.
type Answer struct {
	State RunState // zero: not known
	// JobsLeft: the job has ended, the pipeline that it belongs to has not.
	JobsLeft bool
	Detail   string // one plain line that is safe to print: what the system said, or why it could not be asked
}

// CI asks GitHub Actions and GitLab CI what became of a run, at the API that the user's environment names. What a
// lock says of its run is believed only as far as it fits: the system, a well-formed repository and ID, and a link to
// the host of that very API. Answers are kept for a minute, and for good once a run has ended. Tokens go to that API
// alone: redirects to another host are not followed. Its methods are safe for concurrent use.
type CI struct {
	client   *http.Client
	services map[string]service // by the System of runs

	mu      sync.Mutex
	answers map[string]*question // by URL
	refused map[string]refusal   // by System
}

// question is one request, made once for all who ask the same.
type question struct {
	at     time.Time
	final  bool // the answer will not change any more
	answer func() (a Answer, refused bool)
}

// refusal is the answer of a service that is left alone for a while.
type refusal struct {
	at     time.Time
	answer Answer
}

// NewCI reads GITHUB_API_URL (else https://api.github.com) with GITHUB_TOKEN or GH_TOKEN, and CI_API_V4_URL,
// GITLAB_HOST or GITLAB_URI (else https://gitlab.com) with GITLAB_TOKEN; CI_JOB_TOKEN goes to CI_API_V4_URL alone. It
// sends nothing yet. Without a token what is public can be asked.
func NewCI(getenv func(string) string) *CI {
	return &CI{
		client: &http.Client{
			Timeout: askTimeout,
			CheckRedirect: func(next *http.Request, via []*http.Request) error {
				first := via[0].URL
				if len(via) > 3 || next.URL.Scheme != first.Scheme || next.URL.Host != first.Host {
					return http.ErrUseLastResponse
				}
				return nil
			},
		},
		services: map[string]service{"github-actions": github(getenv), "gitlab-ci": gitlab(getenv)},
		answers:  map[string]*question{},
		refused:  map[string]refusal{},
	}
}

// Ask asks about one run, or remembers. It takes at most five seconds.
func (c *CI) Ask(ctx context.Context, run statelatch.Run) Answer {
	s, ok := c.services[run.System]
	if !ok {
		return Answer{Detail: "its CI system cannot be asked"}
	}
	address, why := s.address(run)
	if why != "" {
		return Answer{Detail: why}
	}
	c.mu.Lock()
	if r, ok := c.refused[run.System]; ok && time.Since(r.at) < asked {
		c.mu.Unlock()
		return r.answer
	}
	q := c.answers[address]
	if q == nil || !q.final && time.Since(q.at) >= asked {
		q = &question{
			at:     time.Now(),
			answer: sync.OnceValues(func() (Answer, bool) { return c.fetch(ctx, s, address, run.ID) }),
		}
		c.answers[address] = q
	}
	c.mu.Unlock()

	a, refused := q.answer()
	c.mu.Lock()
	defer c.mu.Unlock()
	q.final = a.State == RunEnded && !a.JobsLeft
	if refused {
		c.refused[run.System] = refusal{time.Now(), a}
	}
	return a
}

// fetch sends one request. It is refused if others would fare no better: the service does not answer, or wants no
// more of us.
func (c *CI) fetch(ctx context.Context, s service, address, id string) (a Answer, refused bool) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return Answer{Detail: s.name + " cannot be asked for its run"}, false
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "statelatch")
	if s.token != "" {
		req.Header.Set(s.header, s.token)
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return Answer{Detail: s.name + " did not answer"}, true
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch status := resp.StatusCode; {
	case status == http.StatusOK && err == nil && len(body) <= maxAnswer:
		return s.read(body, id), false
	case status == http.StatusOK:
		return Answer{Detail: s.name + " gave no whole answer"}, true
	case status == http.StatusNotFound || status == http.StatusGone:
		return Answer{Detail: fmt.Sprintf("%s does not know its run, or does not show it without a token (%s)", s.name,
			s.tokenName)}, false
	case status == http.StatusForbidden && resp.Header.Get("X-RateLimit-Remaining") != "0" &&
		resp.Header.Get("Retry-After") == "":
		return Answer{Detail: s.name + " does not let this token see its run"}, false
	case status == http.StatusUnauthorized:
		return Answer{Detail: fmt.Sprintf("%s does not accept the token (%s)", s.name, s.tokenName)}, true
	case status == http.StatusForbidden || status == http.StatusTooManyRequests:
		return Answer{Detail: s.name + " wants no more requests for now"}, true
	default:
		return Answer{Detail: fmt.Sprintf("%s answered with status %d", s.name, status)}, true
	}
}
