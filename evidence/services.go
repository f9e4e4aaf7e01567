package evidence

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/lazyre"
)

// service is the API of one CI system.
type service struct {
	name      string // for people
	base      *url.URL
	broken    string // why it cannot be asked at all; empty if it can
	header    string // that carries the token
	token     string
	tokenName string // of the variable, for people
	// below base, escaped; false: the run is not named as the system names runs
	path func(statelatch.Run) (string, bool)
	// what the answer says, the ID it is about, and whether it can be understood
	state func(body []byte) (Answer, string, bool)
}

// The forms of what becomes part of a path. A segment of dots alone would climb.
var (
	number  = lazyre.New(`^[0-9]{1,20}$`)
	segment = lazyre.New(`^[A-Za-z0-9_.-]*[A-Za-z0-9_-][A-Za-z0-9_.-]*$`)
	attempt = lazyre.New(`/attempts/([0-9]{1,6})$`)
)

// segments reports whether repo is from least to most well-formed names.
func segments(repo string, least, most int) bool {
	names := strings.Split(repo, "/")
	for _, name := range names {
		if !segment.MatchString(name) {
			return false
		}
	}
	return len(names) >= least && len(names) <= most
}

// github asks for the very attempt: a run that was started again is another holder.
func github(getenv func(string) string) service {
	s := service{name: "GitHub", header: "Authorization", tokenName: "GITHUB_TOKEN"}
	s.locate("GITHUB_API_URL", cmp.Or(getenv("GITHUB_API_URL"), "https://api.github.com"))
	if token := cmp.Or(getenv("GITHUB_TOKEN"), getenv("GH_TOKEN")); token != "" {
		s.token = "Bearer " + token
	}
	s.path = func(run statelatch.Run) (string, bool) {
		try := "1"
		if m := attempt.FindStringSubmatch(run.URL); m != nil {
			try = m[1]
		}
		return "/repos/" + run.Repo + "/actions/runs/" + run.ID + "/attempts/" + try, segments(run.Repo, 2, 2)
	}
	s.state = func(body []byte) (Answer, string, bool) {
		var run struct {
			ID                 json.Number
			Status, Conclusion string
		}
		if json.Unmarshal(body, &run) != nil {
			return Answer{}, "", false
		}
		switch run.Status {
		case "completed":
			return Answer{State: RunEnded, Detail: "its GitHub run has ended" + in(run.Conclusion)}, run.ID.String(), true
		case "in_progress", "queued", "requested", "waiting", "pending":
			return Answer{State: RunGoesOn, Detail: "its GitHub run goes on" + in(run.Status)}, run.ID.String(), true
		}
		return Answer{}, "", false
	}
	return s
}

func gitlab(getenv func(string) string) service {
	s := service{name: "GitLab", tokenName: "GITLAB_TOKEN"}
	ci := getenv("CI_API_V4_URL")
	if ci != "" {
		s.locate("CI_API_V4_URL", ci)
	} else {
		host := cmp.Or(getenv("GITLAB_HOST"), getenv("GITLAB_URI"), "https://gitlab.com")
		if !strings.Contains(host, "://") {
			host = "https://" + host
		}
		s.locate("GITLAB_HOST", strings.TrimSuffix(host, "/")+"/api/v4")
	}
	switch token := getenv("GITLAB_TOKEN"); {
	case token != "":
		s.header, s.token = "Authorization", "Bearer "+token
	case ci != "":
		s.header, s.token = "JOB-TOKEN", getenv("CI_JOB_TOKEN")
	}
	s.path = func(run statelatch.Run) (string, bool) {
		return "/projects/" + url.PathEscape(run.Repo) + "/jobs/" + run.ID, segments(run.Repo, 2, 30)
	}
	s.state = func(body []byte) (Answer, string, bool) {
		var job struct {
			ID       json.Number
			Status   string
			Pipeline struct{ Status string }
		}
		if json.Unmarshal(body, &job) != nil {
			return Answer{}, "", false
		}
		switch job.Status {
		case "success", "failed", "canceled", "skipped":
			a := Answer{State: RunEnded, Detail: "its GitLab job has ended" + in(job.Status)}
			if a.JobsLeft = !gitlabEnded(job.Pipeline.Status); a.JobsLeft {
				a.Detail += ", its pipeline has not"
			}
			return a, job.ID.String(), true
		case "running", "pending", "preparing", "waiting_for_resource", "canceling":
			return Answer{State: RunGoesOn, Detail: "its GitLab job goes on" + in(job.Status)}, job.ID.String(), true
		}
		return Answer{}, "", false
	}
	return s
}

func gitlabEnded(status string) bool {
	switch status {
	case "success", "failed", "canceled", "skipped":
		return true
	}
	return false
}

// in is a word of an answer in parentheses, if it is a word.
func in(word string) string {
	if !segment.MatchString(word) || len(word) > 30 {
		return ""
	}
	return " (" + strings.ReplaceAll(word, "_", " ") + ")"
}

// locate sets where the API is. A token goes over TLS, or does not leave the machine.
func (s *service) locate(variable, base string) {
	u, err := url.Parse(strings.TrimSuffix(base, "/"))
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		s.broken = fmt.Sprintf("%s cannot be asked: %s is no address", s.name, variable)
	case u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())):
		s.broken = fmt.Sprintf("%s cannot be asked: %s is not https", s.name, variable)
	}
	s.base = u
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// address is what to ask for run, or why it cannot be asked.
func (s service) address(run statelatch.Run) (address, why string) {
	if s.broken != "" {
		return "", s.broken
	}
	link, err := url.Parse(run.URL)
	if err != nil || link.Host == "" || !strings.EqualFold(link.Host, s.base.Host) &&
		!strings.EqualFold("api."+link.Host, s.base.Host) {
		return "", fmt.Sprintf("its run is not of the %s that is asked, %s", s.name, s.base.Host)
	}
	path, ok := s.path(run)
	if !ok || !number.MatchString(run.ID) {
		return "", fmt.Sprintf("its run is not named as %s names runs", s.name)
	}
	return s.base.String() + path, ""
}

// read understands the answer about the run with that ID.
func (s service) read(body []byte, id string) Answer {
	a, of, ok := s.state(body)
	if !ok || of != id {
		return Answer{Detail: s.name + " gave no answer that can be understood"}
	}
	return a
}
