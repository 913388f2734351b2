package cli

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"sockleak/docs"
	"sockleak/internal/explain"
	"sockleak/internal/report"
)

// The width of an explanation where there is no terminal, and the most that can be
// read with ease where there is.
const (
	proseWidth    = 80
	maxProseWidth = 100
)

func newExplain(s Streams) *cobra.Command {
	return &cobra.Command{
		Use:   "explain [CLASS]",
		Short: "explain a class of findings, or an answer without one",
		Long: `explain says what a class of findings means: the rule, what it rests on, why it
usually happens, which healthy program looks alike, and what to do, by language.
Without a class it lists all there is, the answers without a finding too.`,
		Example: "  sockleak explain\n  sockleak explain peer-closed\n  sockleak explain no-leak",
		Args:    cobra.MaximumNArgs(1),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			topics, err := explain.Topics(docs.Findings())
			if err != nil || len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			var names []cobra.Completion
			for _, t := range topics {
				names = append(names, cobra.CompletionWithDesc(t.Name, t.Summary))
			}
			return names, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
		},
		RunE: func(_ *cobra.Command, args []string) error { return explainTo(s, args) },
	}
}

func explainTo(s Streams, args []string) error {
	topics, err := explain.Topics(docs.Findings())
	if err != nil {
		return fmt.Errorf("read the document that is built in: %w", err)
	}
	o := textOptions(s.Out)
	if o.Width == 0 {
		o.Width = proseWidth
	}
	o.Width = min(o.Width, maxProseWidth)
	if len(args) == 0 {
		err = report.Explanations(s.Out, topics, o)
	} else {
		i := slices.IndexFunc(topics, func(t explain.Topic) bool { return t.Name == args[0] })
		if i < 0 {
			return usageHint("sockleak explain lists all there is", "there is nothing to explain about %q", args[0])
		}
		err = report.Explanation(s.Out, topics[i], o)
	}
	if err != nil {
		return fmt.Errorf("write the explanation: %w", outputError(err))
	}
	return nil
}
