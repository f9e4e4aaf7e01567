package secretlike

import (
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
)

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func gz64(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(s))
	_ = w.Close()
	return base64.StdEncoding.EncodeToString(b.Bytes())
}

func utf16le(s string) string {
	var b []byte
	for _, c := range []byte(s) {
		b = append(b, c, 0)
	}
	return base64.StdEncoding.EncodeToString(b)
}

func derKey(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(raw)
}

// fold is base64 in lines, as openssl writes it.
func fold(s string) string {
	var b strings.Builder
	for len(s) > 64 {
		b.WriteString(s[:64] + "\n")
		s = s[64:]
	}
	return b.String() + s
}

// split up, so that no scanner takes this file for a leak
const (
	ghp  = "gh" + "p_16C7e42F292c6912E7710c838347Ae178B4a"
	jwt  = "ey" + "JhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.ey" + "JzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
	akia = "AK" + "IAIOSFODNN7EXAMPLE"
)

func secretTexts(t *testing.T) []string {
	t.Helper()
	return []string{
		// headers
		"Authorization: Basic dXNlcjpodW50ZXIy", "Authorization: Bearer hunter2", "authorization=token hunter2", `{"Authorization":"Bearer hunter2"}`,
		"curl -H 'Authorization: Bearer hunter2' https://h/", "Bearer abc123", `"Proxy-Authorization": "Basic dXNlcjpodW50ZXIy"`, "X-Api-Key: hunter2", "X-Vault-Token: hunter2",
		"Private-Token: hunter2", "Set-Cookie: sid=hunter2; Path=/", "Cookie: session=hunter2", `{"Set-Cookie":"sid=hunter2"}`, "PRIVATE-TOKEN:hunter2",
		// URLs
		"https://h/p?token=hunter2", "https://h/p?a=b&access_token=hunter2", "https://h/p?api_key=hunter2", "https://ghuser:hunter2@github.com/x", "https://hunter2@github.com/x.git",
		"https://acct.blob.core.windows.net/c?sv=2020&sig=hunter2%3D", "https://b.s3.amazonaws.com/k?X-Amz-Signature=abcdef", "https://h/p?sig=abc", "sv=2022-11-02&ss=b&sig=hunter2hunter2",
		"https://hooks.slack.com/services/T000/B000/XXXXXXXX", "https://discord.com/api/webhooks/123456789012345678/abcdefghijklmnopqrstuvwxyz0123456789", "postgres://u:hunter2@h/db",
		"redis://:hunter2@h:6379", "u:hunter2@tcp(db:3306)/app", "amqp://u:hunter2@h", "mongodb+srv://u:hunter2@h/db", "https://fn.azurewebsites.net/api/x?code=abcdefgh12345678",
		"git+https://hunter2@h/x", "https%3A%2F%2Fh%2F%3Ftoken%3Dhunter2", "https://maps.googleapis.com/maps/api/js?key=abcdefgh12345678",
		// tokens
		ghp, "gh" + "s_16C7e42F292c6912E7710c838347Ae178B4a", "github_" + "pat_11ABCDEFG0abcdefghijkl", "xo" + "xb-123456789012-abcdefghijkl", "xo" + "xp-1234567890-abcdef", akia, "AS" + "IAIOSFODNN7EXAMPLE",
		"gl" + "pat-abcdefghij0123456789", "sk_" + "live_abcdefghijklmnop1234", "npm" + "_abcdefghijklmnopqrstuvwxyz0123456789", "hv" + "s.CAESIJabcdefghijklmnop", jwt, "AIza" + "SyA1234567890abcdefghijklmnopqrstuvw",
		"SG." + "abcdefghijklmnopqrstuv.abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG", "dop_" + "v1_abcdef0123456789", "text before " + ghp + " and behind", "-----BEGIN OPENSSH PRIVATE KEY-----\nx",
		"-----BEGIN PGP PRIVATE KEY BLOCK-----", "AGE-" + "SECRET-KEY-1QQQQQQQQQQQQQ", "$6$saltsalt$abcdefghijklmnopqrstuvwxyz", "$2y$10$abcdefghijklmnopqrstuvabcdefghijklmnopqrstuvwxyzabcd",
		// spellings
		"DB_PASS=hunter2", "PASS=hunter2", "PW=hunter2", "MYSQL_PW=hunter2", "pwd=hunter2", "Pwd=hunter2;", "MYSQL_PWD=hunter2", "dbpass=hunter2", "rootpw: hunter2", "PGPASSWORD=hunter2", "SSHPASS=hunter2",
		"passwd: hunter2", "passphrase = hunter2", "adminPwd: hunter2", "pass: hunter2", "ADMIN_PASSWD=hunter2", "DB_PASSWORD_1=hunter2", "kennwort=hunter2", "userPassword:: aHVudGVyMg==",
		// separators
		"password:hunter2", "token:hunter2", `{password:"hunter2"}`, "'password' => 'hunter2'", "password := \"hunter2\"", `\"password\":\"hunter2\"`, "password==hunter2", "  password   =   hunter2", "spring.datasource.password=hunter2",
		"Server=h;Uid=u;Password=hunter2;", "export TOKEN='hunter2'", "secret=hunter2", "AccountKey=hunter2==;EndpointSuffix=x", "SharedAccessKey=hunter2", "user=u password=hunter2 host=h",
		"//registry.npmjs.org/:_authToken=hunter2", "_auth=dXNlcjpodW50ZXIy", "tokens = [\"hunter2\"]", "password='$ecret'", "PASSWORD=${PASSWORD:-hunter2}", "aws_secret_access_key = hunter2",
		"api_token=\"hunter2\"", "client_secret: \"hunter2\" # comment", "password: 12345678",
		// XML
		"<password>hunter2</password>", "<ns:password>hunter2</ns:password>", "<Password type=\"x\">hunter2</Password>", "<password>\n  hunter2\n</password>", "<password><![CDATA[hunter2]]></password>",
		`<add key="DbPassword" value="hunter2"/>`, `<property name="db.password" value="hunter2"/>`, `<add value="hunter2" key="DbPassword"/>`, `<entry key="password">hunter2</entry>`, `<user password="hunter2"/>`,
		"<key>Password</key>\n<string>hunter2</string>", "<property><name>db.password</name><value>hunter2</value></property>",
		// netrc
		"machine h login u password hunter2", "machine h\n  login u\n  password hunter2\n", "default login u password hunter2", "machine h password hunter2",
		// YAML
		"db:\n  password: |\n    hunter2\n", "password: >-\n  hunter2", "password:\n    hunter2\n", "passwords:\n  - hunter2\n", "passwords:\n- hunter2\n", "token: !!binary |\n  aHVudGVyMg==", "env:\n- name: DB_PASSWORD\n  value: hunter2\n",
		"env:\n  - value: hunter2\n    name: DB_PASSWORD\n", "\"password\":\n  \"hunter2\"", "password: |+\n\n  hunter2", "chpasswd:\n  list: |\n    root:hunter2\n", "secrets:\n  db: hunter2\n",
		"password: &p hunter2", "- password: |\n    hunter2",
		// JSON in JSON
		`{"a":"{\"password\":\"hunter2\"}"}`, `{"a":"{\"b\":\"{\\\"token\\\":\\\"hunter2\\\"}\"}"}`, `"{\"password\":\"hunter2\"}"`, `[{"name":"DB_PASSWORD","value":"hunter2"}]`, `{"ParameterKey":"DBPassword","ParameterValue":"hunter2"}`,
		"{\"a\":1}\n{\"password\":\"hunter2\"}", `{"secrets":{"a":{"b":"hunter2"}}}`, `{"auths":{"r":{"auth":"dXNlcjpodW50ZXIy"}}}`, `{"command":["--password","hunter2"]}`, `{"` + ghp + `":1}`, `{"pin":4711}`,
		// base64
		b64("password=hunter2"), b64("#!/bin/sh\nexport DB_PASSWORD=hunter2\n"), b64(`{"token":"hunter2"}`), b64(ghp), b64(b64("password=hunter2")), gz64("#!/bin/sh\nexport DB_PASSWORD=hunter2\n"), b64("-----BEGIN PRIVATE KEY-----\nx"),
		"write_files:\n- content: " + b64("machine h login u password hunter2"), base64.RawURLEncoding.EncodeToString([]byte("token: hunter2>>>???")), fold(b64(strings.Repeat("harmless text. ", 20) + "password=hunter2")),
		"powershell -EncodedCommand " + utf16le("$env:PASSWORD = 'hunter2'"), derKey(t), "user_data: " + gz64("password: hunter2"), gz64(strings.Repeat("a", 8<<20)), "data:text/plain;base64," + b64("password=hunter2"),
		b64("Authorization: Bearer hunter2"), `{"content_base64":"` + b64("DB_PASS=hunter2") + `"}`, b64("x <password>hunter2</password>"), b64(jwt), b64("https://h/?sig=hunter2"),
		// command lines
		"mysql -u root -phunter2", "app --password hunter2", "app --password=hunter2", "app -token hunter2", "sshpass -p hunter2 ssh h", "curl -u user:hunter2 https://h/", "echo root:hunter2 | chpasswd",
		"ENV DB_PASSWORD hunter2", "setx DB_PASSWORD hunter2", "setenv TOKEN hunter2", "CREATE USER u WITH PASSWORD 'hunter2'", "CREATE USER u IDENTIFIED BY 'hunter2'", "requirepass hunter2", "redis-cli -a hunter2 ping",
		`[Environment]::SetEnvironmentVariable("DB_PASSWORD", "hunter2")`, `$env:DB_PASSWORD = "hunter2"`, "docker login -u u --password hunter2 r", "password hunter2", "ConvertTo-SecureString 'hunter2' -AsPlainText",
		"password = <<EOF\nhunter2\nEOF\n", "PASSWORD=\\\nhunter2", "snmp community_string = hunter2",
		"&lt;x password=&quot;hunter2&quot;/&gt;",
	}
}

var harmlessTexts = []string{
	"arn:aws:secretsmanager:eu-central-1:123456789012:secret:prod/db-AbCdEf", "db_secret: arn:aws:secretsmanager:eu-central-1:123456789012:secret:prod/db", "arn:aws:iam::1:role/token-reader",
	"http_tokens = required", "http_tokens: optional", `{"http_tokens":"required"}`, "token_ttl: 3600", "token_type=bearer", "password_length = 16", "secret_name: db", "kms_key_id = 1234abcd-12ab-34cd-56ef-1234567890ab",
	`{"Statement":[{"Action":["secretsmanager:GetSecretValue","kms:Decrypt"],"Resource":"arn:aws:secretsmanager:r:1:secret:x","Effect":"Allow"}]}`,
	`{"Condition":{"StringEquals":{"token.actions.githubusercontent.com:sub":"repo:acme/app:ref:refs/heads/main","token.actions.githubusercontent.com:aud":"sts.amazonaws.com"}}}`,
	`{"Condition":{"DateLessThan":{"aws:TokenIssueTime":"2026-01-01T00:00:00Z"}}}`, "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", "-----BEGIN PUBLIC KEY-----\nMIIB\n", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIabcdefghijklmnopqrstuvwxyz u@h",
	"https://h:443/x@y", "https://h/p?version=2", "ssh://git@github.com/x", "https://kv.vault.azure.net/secrets/db/0123456789abcdef", "postgres://u@h/db", "https://h/oauth/token", "image: sealed-secrets:0.18.0", "bitnami/sealed-secrets:v1.2.3",
	"export DB_PASSWORD=$(aws secretsmanager get-secret-value --secret-id prod/db)", "password = ${var.db_password}", "password: {{ .Values.password }}", "PASSWORD=$DB_PASSWORD", "password: ${{ secrets.DB }}", "password=",
	"valueFrom:\n  secretKeyRef:\n    name: db\n    key: password\n", "imagePullSecrets:\n- name: regcred\n", "db:\n  password:\n  host: VALUE", "proxy_pass http://backend;", "bypass: all", "compass=north", "passthrough: TCP",
	"The bearer token is checked.", "Uses Basic authentication", "authorization = AWS_IAM", "authorization: NONE", `{"authorization":"COGNITO_USER_POOLS"}`, "sig: cluster-lifecycle", "cookie_behavior = none", "cookies: all", "secret_status: active",
	"description: rotates the secrets every month", "tokenizer=standard", "secretary: Ann", `{"type":"object","properties":{"password":{"type":"string"}}}`, "private_key_path = /etc/tls/key", "--password-file /run/x", "--token-ttl 1h", "cat /etc/passwd",
	b64("harmless text, and long enough"), "d41d8cd98f00b204e9800998ecf8427e", "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "ami-0abcdef1234567890", "1234abcd-12ab-34cd-56ef-1234567890ab", "npm_config_registry", "npm_package_version=1.0.0",
	`{"secretOptions":[{"name":"API_KEY","valueFrom":"arn:aws:ssm:r:1:parameter/api"}]}`, "12:30:00", "Token::new()", "password: string", "min_password_length=8", "max_tokens: 4096", "aws_iam_access_key.ci", "key = \"prod/terraform.tfstate\"",
	"100% of tokens", "-----BEGIN RSA PUBLIC KEY-----", "password_policy:\n  minimum_length: 8\n", "encrypted: true", "secret_arn: arn:aws:secretsmanager:r:1:secret:x", "require_password: yes", "alias/aws/secretsmanager", `{"masterUserSecret":[{"kmsKeyId":"x","secretArn":"arn:aws:secretsmanager:r:1:secret:x","secretStatus":"active"}]}`,
	"user-agent: x", "sshkey: ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQC7 u@h", "public_key_pem: x", "s3://bucket/token/path", "", "x", "{}", "[]", "***", "password: ********",
}

// moreSecrets and moreHarmless are further cases of the same kinds.
var moreSecrets = []string{
	"apiVersion: v1\nkind: Secret\nstringData:\n  foo: hunter2\n", "data:\n  foo: aHVudGVyMg==\nkind: Secret\n", `{"kind":"Secret","data":{"foo":"aHVudGVyMg=="}}`,
	"Authorization: Digest username=\"u\", response=\"6629fae49393a05397450978507c4ef1\"", "-H \"X-Auth-Token: abc123def\"", "Proxy-Authorization: Basic dXNlcjpwYXNz",
	"bearer: abcdef123456", "{\"bearer\":\"abcdef123456\"}", "Bearer%20abcdef123456",
	"DBPASS: s3cr3t", "db.pass=s3cr3t", "db_pw: s3cr3t", "mypw=s3cr3t", "PASSWORT: s3cr3t", "sa_pwd = 's3cr3t'", "\"Pwd\" : \"s3cr3t\"", "userPW=s3cr3t", "passwd=s3cr3t", "Pass: s3cr3t", "admin-password=s3cr3t", "PASSWORD_FILE_CONTENT=s3cr3t",
	"pwd:s3cr3t", "password:\"s3cr3t\"", "{apiKey:abc123def}", "secret:s3cr3t", "{\"a\":1,\"token\":\"abc\"}",
	"<Password>s3cr3t</Password>", "<db password='s3cr3t' />", "<apiKey>\n abc\n</apiKey>", "<secret xmlns=\"x\">s3cr3t</secret>", "<setting name=\"ApiToken\" serializeAs=\"String\"><value>s3cr3t</value></setting>", "<connectionStrings><add connectionString=\"Server=x;Password=s3cr3t\"/></connectionStrings>", "<param><name>token</name><value>s3cr3t</value></param>", "<server><id>x</id><username>u</username><password>s3cr3t</password></server>", "&lt;password&gt;s3cr3t&lt;/password&gt;",
	"machine example.com login me password s3cr3t", "machine example.com\nlogin me\npassword s3cr3t", "machine h login u account a password s3cr3t macdef init", "machine\th\tlogin\tu\tpassword\ts3cr3t",
	"password:\n  s3cr3t", "password: >\n  s3cr3t\n", "password: |2-\n    s3cr3t", "token:\r\n  s3cr3t\r\n", "api_key: !vault |\n  $ANSIBLE_VAULT;1.1", "stringData:\n  password: s3cr3t", "data:\n  password: czNjcjN0", "- name: TOKEN\n  value: |\n    s3cr3t", "env:\n  - {name: DB_PASS, value: s3cr3t}", "password: 'multi\n  line'", "? password\n: s3cr3t", "key: password\nvalue: s3cr3t",
	`{"x":"[{\"password\":\"s3cr3t\"}]"}`, `{"x":"{\"y\":\"{\\\"z\\\":\\\"{\\\\\\\"password\\\\\\\":\\\\\\\"s3cr3t\\\\\\\"}\\\"}\"}"}`, "prefix {\"password\":\"s3cr3t\"} suffix", "payload={\\\"password\\\":\\\"s3cr3t\\\"}",
	b64("pwd:s3cr3t"), b64("machine h login u password s3cr3t"), b64("<password>s3cr3t</password>"), gz64(`{"password":"s3cr3t"}`), b64(gz64("password=s3cr3t")), b64("#cloud-config\nchpasswd: {expire: False}\nusers:\n - name: u\n   passwd: $6$abc$defdefdefdefdefdef\n"),
	"https://x.blob.core.windows.net/?sv=1&sig=abcdEF%2F123=", "?sig=abc123", "https://h/?X-Goog-Signature=abcdef", "sig=abcdefghijklmnopqrst", "https://h/cb?code=0123456789abcdef&state=x", "https://user:p%40ss@h", "ftp://u:p@h", "https://token:x-oauth-basic@github.com", "https://x-access-token:abc@github.com/a", "jdbc:mysql://h/db?user=u&password=s3cr3t", "jdbc:postgresql://h/db?user=u&password=s3cr3t", "sqlserver://sa:s3cr3t@h?x", "Endpoint=sb://x/;SharedAccessKeyName=R;SharedAccessKey=abc=", "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=abc==",
	"Set-Cookie: a=b; HttpOnly", "set-cookie: session=abcdef", "Cookie: JSESSIONID=abc",
	"eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.", "eyJhbGciOiJSU0EtT0FFUCJ9.abc123.def456.ghi.jkl",
	"set PASSWORD=s3cr3t", "$password = \"s3cr3t\"", "var password = 's3cr3t';", "const TOKEN = `s3cr3t`", "password=>s3cr3t", "'token'=>'s3cr3t'", ":password => 's3cr3t'", "--from-literal=password=s3cr3t", "-e MYSQL_ROOT_PASSWORD=s3cr3t", "--set db.password=s3cr3t", "-Dpassword=s3cr3t", "vault login s3cr3ttoken", "curl -u u:p h", "wget --password=p h", "git clone https://u:p@h/x",
	"GRANT ALL TO u IDENTIFIED BY \"s3cr3t\"", "ALTER USER u PASSWORD 's3cr3t'", "PASSWORD('s3cr3t')", "htpasswd: u:$apr1$abcdefgh$ijklmnopqrstuvwx", "u:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=",
	"snmp-server community s3cr3t ro", "enable secret 5 $1$abcd$abcdefghijklmnopqrst", "psk=s3cr3t", "wpa_passphrase=s3cr3t", "PrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=", "PresharedKey = abc", "ssh-keygen -N s3cr3t",
}

var moreHarmless = []string{
	`{"kind":"ConfigMap","data":{"foo":"bar"}}`, "kind: ConfigMap\ndata:\n  foo: bar\n", `{"kind":"Secret","metadata":{"name":"x"}}`,
	"token_ttl: 3600", "tokenTTL=1h", "key_type: RSA", "signing_algorithm=RSASSA_PSS", "private_key_type=RSA", "key_id: abc", "KmsKeyId: abc", "kms_key_arn: arn:aws:kms:eu-west-1:123456789012:key/1", "secretArn=arn:aws:secretsmanager:eu-west-1:1:secret:x-AbC", "secret_name=db", "secretName: tls-cert", "credentials_file: /x", "password_policy: strict",
	"http_tokens=required", "imdsv2: required", "HttpTokens: required", `{"HttpTokens":"required","HttpPutResponseHopLimit":2}`, "public_key_pem = x", "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----", "-----BEGIN CERTIFICATE-----\nMIIDXTCCAkWgAwIBAgIJAJC1HiIAZAiIMA0GCSqGSIb3DQEBBQUAMEUxCzAJBgNV\nBAYTAkFVMRMwEQYDVQQIDApTb21lLVN0YXRlMSEwHwYDVQQKDBhJbnRlcm5ldCBX\n-----END CERTIFICATE-----",
	"arn:aws:iam::123456789012:policy/token-policy", "arn:aws:lambda:eu-west-1:123456789012:function:password-reset", "arn:aws:ssm:eu-west-1:123456789012:parameter/prod/db/password", "arn:aws-us-gov:secretsmanager:us-gov-west-1:123456789012:secret:a/b:password::", "arn:aws:cognito-idp:eu-west-1:1:userpool/eu-west-1_abc",
	"ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQC7vbqajDhA user@host", "sha256~abc", "git@github.com:acme/app.git", "https://github.com/acme/secret-service", "docker.io/library/vault:1.15", "registry/app@sha256:" + "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "https://example.com/?page=2&sort=name", "https://accounts.google.com/o/oauth2/token", "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_abc/.well-known/jwks.json",
	`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole","Condition":{"StringEquals":{"sts:ExternalId":"x"}}}]}`, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["iam:CreateAccessKey","secretsmanager:*","ssm:GetParameter*","kms:GenerateDataKey"],"Resource":"*"}]}`,
	`{"Statement":[{"Condition":{"Bool":{"aws:MultiFactorAuthPresent":"true","aws:SecureTransport":"false"},"NumericLessThan":{"s3:TlsVersion":"1.2"},"StringNotEquals":{"s3:x-amz-server-side-encryption":"aws:kms"}}}]}`,
	"apiVersion: v1\nkind: Secret\nmetadata:\n  name: db\ntype: Opaque\n", "apiVersion: v1\nkind: ServiceAccount\nautomountServiceAccountToken: false\n", "volumes:\n- name: creds\n  secret:\n    secretName: creds\n", "env:\n- name: DB_PASSWORD\n  valueFrom:\n    secretKeyRef:\n      name: db\n      key: password\n", "serviceAccountToken:\n  expirationSeconds: 3600\n  path: token\n", "envFrom:\n- secretRef:\n    name: db\n",
	"#!/bin/bash\nset -e\nTOKEN=$(curl -X PUT http://169.254.169.254/latest/api/token -H 'X-aws-ec2-metadata-token-ttl-seconds: 21600')\ncurl -H \"X-aws-ec2-metadata-token: $TOKEN\" http://169.254.169.254/latest/meta-data/\n",
	"server {\n  proxy_pass http://app:8080;\n  proxy_set_header Authorization \"\";\n  proxy_set_header Authorization $http_authorization;\n}", "auth_basic_user_file /etc/nginx/.htpasswd;", "PasswordAuthentication no", "PermitRootLogin prohibit-password", "passwordAuthentication: no", "pam_unix.so nullok", "requires password reset", "max_token_length = 10", "Enter your password to continue.", "The secret is rotated by Lambda.", "Bearer", "basic", "Basic", "authentication: basic", "auth_type=basic", "token_use: access",
	"2026-11-30T21:00:00Z", "key=value", "a:b:c", "tags: {Name: x}", "eks.amazonaws.com/role-arn: arn:aws:iam::1:role/x", "kubernetes.io/cluster/x: owned", "aws:autoscaling:groupName", "compass: true", "by-pass=1", "passive: true", "passenger_user: www", "pwd", "cd $PWD", "OLDPWD=/x", "PWD=/home/x", "sessions: 5", "session_duration=3600", "cookie_name: session", "cookie_duration=86400", "same_site: lax", "access_key_last_used: never", "access_logs: enabled", "private_dns_enabled=true", "private_subnets: [a]", "secret_rotation_days = 30", "password_min_length=8", "accesskeys: 2", "AuthorizationType: NONE", "authorization_type=AWS_IAM", "authorizer_id: abc", "authorization_scopes: [a]",
	"MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA", b64(`{"Version":"2012-10-17","Statement":[]}`), b64("#!/bin/bash\nyum update -y\necho hello"), gz64("#!/bin/bash\nyum update -y\n"), "Zm9vYmFyYmF6cXV4", "ec2-user", "i-0123456789abcdef0", "subnet-0123456789abcdef0", "vpc-abc", "Z1234567890ABC", "E1ABCDEFGHIJKL", "d111111abcdef8.cloudfront.net", "ABCDEFGHIJKLMNOPQRST",
}

func TestText(t *testing.T) {
	t.Parallel()
	for _, s := range append(secretTexts(t), moreSecrets...) {
		if !Text(s) {
			t.Errorf("shown: %.200q", s)
		}
	}
	for _, s := range append(moreHarmless, harmlessTexts...) {
		if Text(s) {
			t.Errorf("hidden: %.200q", s)
		}
	}
}

func TestName(t *testing.T) {
	t.Parallel()
	for names, want := range map[string]bool{
		"password db_password masterPassword DBPassword dbpassword password2 PASS DB_PASS pw PW userPw pwd adminPwd passwd passphrase pass_phrase token apiToken api_token tokens secret client_secret " +
			"secret_string secretString private_key private_key_pem privateKey private_key_openssh access_key primary_access_key secret_access_key primary_connection_string connection_string kube_config kube_config_raw " +
			"client_key encryption_key account_key license_key credentials google_credentials jwt pin otp psk api_key apikey x-api-key auth_token _authToken password_hash password_data spring.datasource.password " +
			"/prod/db/password environment.password passwords.0 password.value rails_secret_key_base webhook_secret tunnel1_preshared_key " +
			"administrator_login_password master_password auth_token secret_string private_key client_secret connection_string primary_blob_connection_string primary_access_key sas_token kube_admin_config_raw kube_config_raw access_token refresh_token id_token session_token bearer_token api_secret webhook_secret shared_secret pre_shared_key tunnel1_preshared_key ssh_private_key private_key_base64 certificate_private_key password_hash admin_pass root_pw user_pass smtp_password ses_smtp_password_v4 encrypted_password storage_account_key account_key primary_key secondary_key oauth_token gh_token personal_access_token github_pat puk mnemonic seed_phrase mfa_seed snmp_community product_key app_key subscription_key x-origin-verify set_sensitive tls.key id_rsa signing_secret hmac_key encryption_passphrase license_key app_secret consumer_secret x_api_key credentials_json service_account_key private_key_data join_token registration_token bootstrap_token unseal_keys_b64 root_token dbPass DBPASS MYSQL_ROOT_PASSWORD PGPASSWORD SECRET_KEY_BASE TF_VAR_db_password AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN GITHUB_TOKEN apiToken accessToken clientSecret secretValue tokenValue password_wo userPasswords.alice pass1 pw2 adminPw": true,
		"http_tokens max_tokens token_ttl token_type token_policies token_bound_cidrs token_max_ttl token_num_uses token_period access_token_validity key_type private_key_type api_key_type public_key public_key_pem public_key_openssh " +
			"ssh_public_key key_id kms_key_id kms_master_key_id api_key_id secret_arn db_secret_arn secret_name secret_version secret_status master_user_secret_kms_key_id password_length password_policy minimum_password_length " +
			"max_password_age require_password manage_master_user_password allow_users_to_change_password password_last_used password_reuse_prevention secret_path private_key_path token_url token_endpoint tokenizer secretary " +
			"key_name key_fingerprint private_key_algorithm aws:TokenIssueTime token.actions.githubusercontent.com:sub token.actions.githubusercontent.com bypass compass_id proxy_pass passthrough pass_through " +
			"partition_key hash_key range_key key_usage key_spec key_rotation_enabled secret_manager_region credential_source token_validity_units jwt_audience secretsmanager keyspace monkey " +
			"key_vault_id key_vault_secret_id access_policy auth_mode auth_type key_pair_name key_size key_opts key_permissions secret_permissions certificate_permissions secrets_provider secret_rotation_interval enable_secrets_encryption token_lifetime token_format password_change_required password_authentication_enabled disable_password_authentication password_expiration_days credential_provider credentials_mode credential_type api_key_required api_key_selection_expression api_key_source otp_length secrets_path token_network_acls http_tokens http_put_response_hop_limit kms_key_id kms_master_key_id sse_kms_key_id customer_master_key_spec key_usage enable_key_rotation rotation_period_in_days token_group_prefix secret_namespace password_wo_revision password_last_set password_expired secret_scanning secret_scanning_push_protection image_pull_secrets existing_secret dkim_tokens case_sensitive password_stdin credential_process public_key public_key_pem public_key_openssh public_key_fingerprint_md5 public_key_fingerprint_sha256 key_fingerprint ssh_keys_enabled monitoring_role_arn master_user_secret_kms_key_id manage_master_user_password iam_database_authentication_enabled password_length min_password_length allow_users_to_change_password hard_expiry max_password_age password_reuse_prevention token_key_type pass_through bypass_policy_lockout_safety_check access_key_last_used_date secret_arn secret_name token_ttl token_type token_max_ttl token_period token_policies token_bound_cidrs key_type tls_key_type": false,
	} {
		for name := range strings.FieldsSeq(names) {
			if got := Name(name); got != want {
				t.Errorf("%s: got %t, want %t", name, got, want)
			}
		}
	}
}

func TestTree_Redact(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`{"secret_id":"hunter2"}`:                             `{"secret_id":"-"}`,
		`{"secret_id":"arn:aws:secretsmanager:r:1:secret:x"}`: `{"secret_id":"arn:aws:secretsmanager:r:1:secret:x"}`,
		`{"master_user_secret":[{"kms_key_id":"k","secret_arn":"arn:aws:x:r:1:y","secret_status":"up"}]}`: `{"master_user_secret":[{"kms_key_id":"k","secret_arn":"arn:aws:x:r:1:y","secret_status":"up"}]}`,
		`{"metadata_options":[{"http_tokens":"required","http_endpoint":"enabled"}]}`:                     `{"metadata_options":[{"http_endpoint":"enabled","http_tokens":"required"}]}`,
		`{"credentials":[{"x":{"y":["hunter2"]}}]}`:                                                       `{"credentials":"-"}`,
		`{"password_policy":{"minimum_length":8,"password":"hunter2"}}`:                                   `{"password_policy":{"minimum_length":8,"password":"-"}}`,
		`{"tags":{"` + ghp + `":"x","y":"z"}}`:                                                            `{"tags":"-"}`,
		`{"headers":[{"name":"Authorization","value":"x y"},{"name":"Accept","value":"x"}]}`:              `{"headers":[{"name":"Authorization","value":"-"},{"name":"Accept","value":"x"}]}`,
		`{"args":["--token","hunter2","-v"]}`:                                                             `{"args":["--token","-","-v"]}`,
		`{"passwords":{"name":"hunter2"}}`:                                                                `{"passwords":"-"}`,
		`{"token_validity_units":[{"access_token":"hours","id_token":"minutes"}]}`:                        `{"token_validity_units":[{"access_token":"hours","id_token":"minutes"}]}`,
		`{"secrets":[{"name":"API_KEY","valueFrom":"arn:aws:ssm:r:1:parameter/x"}]}`:                      `{"secrets":[{"name":"API_KEY","valueFrom":"arn:aws:ssm:r:1:parameter/x"}]}`,
		`{"certificate_pem":"-----BEGIN CERTIFICATE-----\nx"}`:                                            `{"certificate_pem":"-----BEGIN CERTIFICATE-----\nx"}`,
		`{"password":""}`: `{"password":""}`,
		`{"manifest":{"kind":"Secret","metadata":{"name":"x"},"stringData":{"foo":"hunter2"}}}`: `{"manifest":{"kind":"Secret","metadata":{"name":"x"},"stringData":"-"}}`,
	} {
		var v any
		if err := json.Unmarshal([]byte(in), &v); err != nil {
			t.Fatal(err)
		}
		got, err := json.Marshal(Tree{Hide: func(any) any { return "-" }}.Redact(v))
		if err != nil {
			t.Fatal(err)
		}
		var w any
		_ = json.Unmarshal([]byte(want), &w)
		sorted, _ := json.Marshal(w)
		if string(got) != string(sorted) {
			t.Errorf("%s: got %s, want %s", in, got, sorted)
		}
	}
}

// The work must not grow faster than the text does, whatever is in it.
func TestText_WorkIsLinear(t *testing.T) {
	t.Parallel()
	work := func(s string) int {
		c := new(scan)
		c.text(s)
		return c.steps
	}
	for name, unit := range map[string]string{
		"equals": "=", "colons": "a: ", "names": "password=", "blanks": "password:   ", "lines": "password:\n", "tags": "<a ", "tag": "<password>", "escapes": "%25", "entities": "&#38;",
		"base64": "QUJDRA", "base64 lines": strings.Repeat("A", 64) + "\n", "keywords": "ghp_ xoxb- akia ", "colonless": "x", "brackets": "{[", "quotes": `"`, "backslashes": `\`, "bearers": "bearer token ",
		"machines": "machine x ", "flags": "--x y ", "URLs": "http://a:", "ARNs": "arn:aws:", "nested": b64("harmless text ") + " ", "secret words": "secret ", "indented": "  password:\n    ",
	} {
		small, large := work(strings.Repeat(unit, 4_000)), work(strings.Repeat(unit, 8_000))
		if ratio := float64(large) / float64(small); ratio > 2.3 {
			t.Errorf("%s: twice the text took %.1f times the work", name, ratio)
		}
		if perByte := large / (8_000 * len(unit)); perByte > 4000 {
			t.Errorf("%s: %d steps a byte", name, perByte)
		}
	}
}

// The rules are gitleaks' at the version that gitleaks.go names, and every one compiles.
func TestGitleaks(t *testing.T) {
	t.Parallel()
	sum := sha256.Sum256([]byte(gitleaksTOML))
	if got := hex.EncodeToString(sum[:]); got != gitleaksSum {
		t.Errorf("gitleaks.toml has the SHA-256 %s, want that of %s, %s: run go generate", got, gitleaksVersion, gitleaksSum)
	}
	all := gitleaks()
	if len(all) < 180 {
		t.Errorf("got %d rules of gitleaks, want at least 180", len(all))
	}
	seen := map[string]bool{}
	for _, r := range append(all, rulesOf()...) {
		if r.id == "" || len(r.keywords) == 0 || r.group > r.regex().NumSubexp() {
			t.Errorf("rule %q: got the keywords %q and the group %d", r.id, r.keywords, r.group)
		}
		for _, k := range r.keywords {
			if k == "" || k != strings.ToLower(k) {
				t.Errorf("rule %q: keyword %q is not in small letters", r.id, k)
			}
		}
		seen[r.id] = true
	}
	for _, id := range []string{"github-pat", "slack-bot-token", "stripe-access-token", "private-key", "vault-service-token"} {
		if !seen[id] {
			t.Errorf("the rule %s is missing", id)
		}
	}
}
