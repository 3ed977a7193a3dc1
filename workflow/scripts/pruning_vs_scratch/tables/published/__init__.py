"""Tables as a paper prints them: each as csv (numbers), Markdown and LaTeX (booktabs). From stored tables alone."""
