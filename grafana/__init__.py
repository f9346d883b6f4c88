"""What Prometheus and Grafana need to watch a server: dashboards, rules, their configuration, and a live drill.

queries       expressions over the catalogue's families, and the variables in them
panels        what a panel and a dashboard are, before anything of Grafana's
boards        the five dashboards
build         writes them as Grafana's JSON: `python -m grafana.build`
rules         alerts, recordings, and promtool's tests of them
drill         makes five alerts fire for real: `make drill`
dashboards, provisioning, prometheus.yml, compose.yml   what is started beside a server

Not the metrics themselves: those are `vespera_agents.health.metrics`.
"""
