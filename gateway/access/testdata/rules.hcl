store           = "s3://acme-state"
master_key_file = "/etc/statelatch/master.key"

issuer "github" {
  url      = "https://token.actions.githubusercontent.com"
  audience = "statelatch"
}

issuer "gitlab" {
  url        = "https://gitlab.example.com"
  audience   = ["https://states.example.com", "statelatch"]
  name_claim = "project_path"
}

key "ana" { file = "keys/ana" } # a static key pair, for people
key "bert" { file = "/etc/statelatch/keys/bert" }

allow "nobody touches the archive" {
  keys   = ["*"]
  states = ["archive/*"]
  may    = ["read"]
}

allow "the keeper" {
  keys   = ["ana"]
  states = ["*"]
  may    = ["admin"]
}

allow "main deploys prod" {
  issuer = "github"
  claims = { repository = "acme/infra", ref = ["refs/heads/main", "refs/tags/v?.*"] }
  states = ["prod/*", "env:/*/prod/*"]
  may    = ["read", "lock", "write"]
}

// Tokens of pull requests, too.
allow "pull requests plan" {
  issuer = "github"
  claims = { repository = "acme/*" }
  states = ["*"]
  may    = ["read", "lock"]
}

allow "a team's own states" {
  issuer = "gitlab"
  claims = { groups = "team-a" }
  states = ["team-a/*"]
  may    = ["read", "lock", "write", "delete", "force-unlock"]
}
