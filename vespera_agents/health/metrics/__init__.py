"""What Prometheus sees of a runtime.

catalogue, families, labels  every metric family that is exposed, and every label value that it can have
sources                      where the numbers come from, there from the start of a server
reports, requests, lifecycle, task_figures
                             what supervisors, clients, the server's own life and stores told, as plain numbers
windows, backlog             what is asked at each scrape: of the event loop, and of the database
measuring, exposition        from pictures to values, and from values to Prometheus families
exemplars                    histograms that remember a trace or a task for each bucket
collector, rendering         the one collector and its registry, and the text of it
measured                     all of it, for whoever wants it
endpoint                     `/metrics` from a thread
"""

__all__: list[str] = []
