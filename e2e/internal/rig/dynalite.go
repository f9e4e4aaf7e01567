//go:build unix

package rig

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// LockTable is the name of the table that Dynalite makes.
const LockTable = "locks"

// Dynalite starts the DynamoDB emulator, makes the lock table in it and returns its URL.
func (w *World) Dynalite() string {
	w.T.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.T.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	_ = l.Close()
	program, args := "dynalite", []string{}
	if _, err := exec.LookPath(program); err != nil {
		program, args = Need(w.T, "npx"), []string{"--yes", "--prefer-offline", "dynalite@4.0.0"}
	}
	p := w.StartGroup(program, append(args, "--host", "127.0.0.1", "--createTableMs", "0", "--port", port)...)
	AwaitPort(w.T, p, port)
	url := "http://127.0.0.1:" + port
	client := dynamodb.New(dynamodb.Options{
		BaseEndpoint: &url, Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider("key", "secret", ""),
	})
	if _, err := client.CreateTable(w.T.Context(), &dynamodb.CreateTableInput{
		TableName:   aws.String(LockTable),
		BillingMode: types.BillingModePayPerRequest,
		KeySchema:   []types.KeySchemaElement{{AttributeName: aws.String("LockID"), KeyType: types.KeyTypeHash}},
		AttributeDefinitions: []types.AttributeDefinition{{
			AttributeName: aws.String("LockID"),
			AttributeType: types.ScalarAttributeTypeS,
		}},
	}); err != nil {
		w.T.Fatal(err)
	}
	if err := dynamodb.NewTableExistsWaiter(client, func(o *dynamodb.TableExistsWaiterOptions) {
		o.MinDelay, o.MaxDelay = 20*time.Millisecond, 200*time.Millisecond
	}).Wait(w.T.Context(), &dynamodb.DescribeTableInput{TableName: aws.String(LockTable)}, Patience); err != nil {
		w.T.Fatal(err)
	}
	return url
}

// StartGroup is Start for a program that starts others, such as npx: all of them end with the test.
func (w *World) StartGroup(program string, args ...string) *Process {
	w.T.Helper()
	home := w.Env["HOME"]
	w.Env["HOME"] = os.Getenv("HOME") // npm's cache and registry
	defer func() { w.Env["HOME"] = home }()
	for _, kv := range os.Environ() {
		if k, v, _ := strings.Cut(kv, "="); strings.HasPrefix(strings.ToLower(k), "npm_config_") {
			w.Env[k] = v
			defer delete(w.Env, k)
		}
	}
	p := w.StartWith(func(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }, w.Home, program,
		args...)
	w.T.Cleanup(func() { _ = syscall.Kill(-p.Cmd.Process.Pid, syscall.SIGKILL) })
	return p
}
