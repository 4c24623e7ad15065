package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	kubeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const memoryInterval = 100 * time.Millisecond // between two looks at what a container uses

// process is a container that runs. `ended` is closed after its end is written down.
type process struct {
	command     *exec.Cmd
	log         *os.File
	writing     sync.Mutex
	readers     sync.WaitGroup
	outputs     []*os.File
	outOfMemory atomic.Bool
	ended       chan struct{}
}

// exit is how a container ended, as its status says it.
type exit struct {
	code            int32
	reason, message string
}

// startProcess runs the container's command in a process group of its own. It finds its pod's address in HOST and
// POD_IP, and ends with the kubelet; NODE_ROOT names the node that it belongs to.
func startProcess(config *kubeapi.ContainerConfig, address, root, logPath string) (*process, error) {
	argv := append(append([]string{}, config.Command...), config.Args...)
	command := exec.Command(argv[0], argv[1:]...)
	command.Dir = config.WorkingDir
	command.Env = []string{"PATH=" + os.Getenv("PATH"), "HOST=" + address, "POD_IP=" + address, "NODE_ROOT=" + root}
	for _, each := range config.Envs {
		command.Env = append(command.Env, each.Key+"="+string(each.Value))
	}
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := os.MkdirAll(filepath.Dir(logPath), 0o700); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	p := &process{command: command, log: log, ended: make(chan struct{})}
	if err := p.start(); err != nil {
		log.Close()
		return nil, err
	}
	if limit := config.GetLinux().GetResources().GetMemoryLimitInBytes(); limit > 0 {
		go p.watchMemory(limit)
	}
	return p, nil
}

func (p *process) start() error {
	stdout, writesOut, err := os.Pipe()
	if err != nil {
		return err
	}
	defer writesOut.Close()
	stderr, writesErr, err := os.Pipe()
	if err != nil {
		return err
	}
	defer writesErr.Close()
	p.command.Stdout, p.command.Stderr, p.outputs = writesOut, writesErr, []*os.File{stdout, stderr}
	if err := p.command.Start(); err != nil {
		stdout.Close()
		stderr.Close()
		return err
	}
	p.readers.Add(2)
	go p.copyLines("stdout", stdout)
	go p.copyLines("stderr", stderr)
	return nil
}

// copyLines writes what it reads to the log, in the format of the container runtime interface.
func (p *process) copyLines(stream string, from io.Reader) {
	defer p.readers.Done()
	lines := bufio.NewReader(from)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			kind := "F"
			if err != nil {
				kind, line = "P", line+"\n" // its last line has no end
			}
			p.writing.Lock()
			fmt.Fprintf(p.log, "%s %s %s %s", time.Now().UTC().Format(time.RFC3339Nano), stream, kind, line)
			p.writing.Unlock()
		}
		if err != nil {
			return
		}
	}
}

// watchMemory does what the kernel does to a cgroup that exceeds its limit; it looks at the first process alone.
func (p *process) watchMemory(limit int64) {
	statm := fmt.Sprintf("/proc/%d/statm", p.command.Process.Pid)
	for {
		select {
		case <-p.ended:
			return
		case <-time.After(memoryInterval):
		}
		text, err := os.ReadFile(statm)
		fields := strings.Fields(string(text))
		if err != nil || len(fields) < 2 {
			return // it has ended
		}
		if pages, _ := strconv.ParseInt(fields[1], 10, 64); pages*int64(os.Getpagesize()) > limit {
			p.outOfMemory.Store(true)
			p.kill()
			return
		}
	}
}

// wait returns when the first process has ended; what it left of its group ends with it.
func (p *process) wait() exit {
	_ = p.command.Wait()
	p.kill()
	for _, each := range p.outputs {
		_ = each.SetReadDeadline(time.Now().Add(time.Second)) // one that left the group may hold it open
	}
	p.readers.Wait()
	for _, each := range append(p.outputs, p.log) {
		each.Close()
	}
	code := p.command.ProcessState.ExitCode()
	if status, ok := p.command.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		code = 128 + int(status.Signal())
	}
	switch {
	case p.outOfMemory.Load():
		return exit{int32(code), "OOMKilled", ""}
	case code != 0:
		return exit{int32(code), "Error", ""}
	}
	return exit{0, "Completed", ""}
}

// stop returns when it has ended: SIGTERM, and SIGKILL after the grace.
func (p *process) stop(grace time.Duration) {
	_ = syscall.Kill(-p.command.Process.Pid, syscall.SIGTERM)
	select {
	case <-p.ended:
		return
	case <-time.After(grace):
	}
	p.kill()
	<-p.ended
}

func (p *process) kill() {
	_ = syscall.Kill(-p.command.Process.Pid, syscall.SIGKILL)
}
