// A whole Kubernetes control plane, and kubelets whose containers are processes, as one program for tests.
//
// The first argument says which of them it is, the others are that program's own.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "k8s: say which program: etcd, kube-apiserver, …")
		os.Exit(2)
	}
	name := os.Args[1]
	os.Args = append([]string{name}, os.Args[2:]...)
	if name != "node" { // it has containers to end first
		go func() {
			<-ownerEnded()
			os.Exit(1)
		}()
	}
	var command *cobra.Command
	switch name {
	case "etcd":
		etcdmain.Main(os.Args)
		return
	case "stages":
		fmt.Print(stages())
		return
	case "kube-apiserver":
		command = apiserver.NewAPIServerCommand()
	case "kube-controller-manager":
		command = controllers.NewControllerManagerCommand()
	case "kube-scheduler":
		command = scheduler.NewSchedulerCommand()
	case "node":
		command = nodeCommand()
	case "kwok":
		command = kwokCommand()
	default:
		fmt.Fprintf(os.Stderr, "k8s: unknown program %q\n", name)
		os.Exit(2)
	}
	os.Exit(cli.Run(command))
}

// ownerEnded is closed when standard input ends, if KUBERNETES_LIFELINE is set: so does whoever holds its other end.
func ownerEnded() <-chan struct{} {
	ended := make(chan struct{})
	if os.Getenv("KUBERNETES_LIFELINE") != "" {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			close(ended)
		}()
	}
	return ended
}
