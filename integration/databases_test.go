//go:build unix

package integration

import (
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// redis starts a redis server and returns its address.
func (l *lab) redis() string {
	l.t.Helper()
	redis := l.tool("redis-server")
	l.tool("redis-cli")
	l.tool("redis-benchmark")
	addr, port := l.freeAddr()
	l.serve(addr, redis, "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no", "--dir", l.t.TempDir())
	return addr
}

func TestRedisThroughAForward(t *testing.T) {
	t.Parallel()
	l := newForwardLab(t)
	port := portOf(t, l.to(l.redis())[0])
	value := strings.Repeat("0123456789abcdef", 1<<16)
	l.run([]byte(value), "redis-cli", "-p", port, "-x", "set", "key")
	if got := strings.TrimSuffix(l.run(nil, "redis-cli", "-p", port, "get", "key"), "\n"); got != value {
		t.Errorf("the value has %d bytes, want %d", len(got), len(value))
	}
	out := l.run(nil, "redis-benchmark", "-p", port, "-n", "5000", "-c", "20", "-t", "set,get", "--csv")
	if !strings.Contains(out, `"SET","`) || !strings.Contains(out, `"GET","`) {
		t.Errorf("redis-benchmark says %s", out)
	}
}

// A postgres is a PostgreSQL server of this test's own.
type postgres struct {
	bin, addr string
	as        *syscall.Credential // nil: the test's own user
}

// startPostgres makes and starts a database.
func (l *lab) startPostgres() *postgres {
	l.t.Helper()
	p := &postgres{bin: filepath.Dir(l.tool("initdb", "/usr/lib/postgresql/*/bin/initdb"))}
	l.tool("psql", filepath.Join(p.bin, "psql"))
	dir, err := os.MkdirTemp("", "weft-pg") // which another user can enter, unlike the test's own
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if os.Getuid() == 0 { // as whom PostgreSQL does not run
		p.as = l.credential("postgres")
		if err := os.Chown(dir, int(p.as.Uid), int(p.as.Gid)); err != nil {
			l.t.Fatal(err)
		}
	}
	l.runCmd(nil, p.command(dir, "initdb", "-D", "data", "-U", "postgres", "-A", "trust", "--no-sync", "--no-locale", "-E", "UTF8"))
	var port string
	p.addr, port = l.freeAddr()
	server := l.serveAs(p.command(dir, "postgres", "-D", "data", "-p", port, "-h", "127.0.0.1", "-k", "",
		"-c", "fsync=off", "-c", "max_connections=20"), p.addr)
	l.t.Cleanup(func() { // killed, as processes of labs are, it would leave its children behind
		_ = server.cmd.Process.Signal(syscall.SIGQUIT)
		<-server.done
	})
	return p
}

// credential is that of a user by name.
func (l *lab) credential(name string) *syscall.Credential {
	l.t.Helper()
	u, err := user.Lookup(name)
	if err != nil {
		l.t.Skipf("there is no user %s: %v", name, err)
	}
	uid, _ := strconv.ParseUint(u.Uid, 10, 32)
	gid, _ := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// command is one of the server's programs.
func (p *postgres) command(dir, name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(p.bin, name), args...)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.as}
	return cmd
}

func TestPostgreSQLThroughAForward(t *testing.T) {
	t.Parallel()
	l := newForwardLab(t)
	p := l.startPostgres()
	port := portOf(t, l.to(p.addr)[0])
	at := []string{"-h", "127.0.0.1", "-p", port, "-U", "postgres"}
	out := l.run(nil, "psql", append(at, "-Atc", "select sum(length(repeat('x', 1000))) from generate_series(1, 1000)", "postgres")...)
	if strings.TrimSpace(out) != "1000000" {
		t.Errorf("psql says %q", out)
	}
	pgbench := l.tool("pgbench", filepath.Join(p.bin, "pgbench"))
	l.run(nil, pgbench, append(at, "-q", "-i", "-s", "1", "postgres")...)
	if out := l.run(nil, pgbench, append(at, "-n", "-c", "4", "-t", "50", "postgres")...); !strings.Contains(out, "200/200") {
		t.Errorf("pgbench says %s", out)
	}
}
