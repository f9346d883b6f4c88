"""The words that speak for the packaged roles: a table, to be read and changed as one.

Each line is one weight, in nats of evidence: 3 nearly decides, 1 is a hint, what is below 0 speaks against. A word
stands for all its endings; several words in quotes are a phrase. Nothing here is a title of anybody's plan. Where a
word speaks for two roles it stands in both. Neighbours: `suggesting` weighs them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["BY_COMPLEXITY", "BY_TYPE", "COMMONPLACE", "CONTAINER_WORDS", "OPENINGS", "STOP_WORDS", "WORDS"]

WORDS: Final[Mapping[str, Mapping[float, str]]] = {
    "architect": {
        3.0: "architecture architectural architect adr 'bounded context' 'system design' 'technical design'"
        " blueprint 'domain driven' cqrs 'event sourcing'",
        2.2: "design redesign boundary 'trade off' tradeoff decompose decomposition topology 'data model'"
        " 'domain model' 'object model' modular modularity microservice hexagonal 'how should' rfc"
        " 'high level' restructure",
        1.5: "abstraction interface schema protocol layer layout mechanism extensible extensibility decouple"
        " coupling cohesion entity relation ontology taxonomy pattern reusable scalable scalability"
        " foundation monolith consistency 'state machine' 'access model' paradigm principle concept"
        " failover federation sharding partition tenant tenancy evolution 'event driven' orchestration"
        " 'migration path' 'big picture' 'message format' ownership convention",
        1.0: "strategy structure structural component subsystem module model approach proposal contract split"
        " separate separation decide decision choose between hierarchy namespace template routing router"
        " intelligent smart algorithm multi specification framework plugin extension isolation replication"
        " heuristic scheme diagram unified agent future",
        0.5: "engine distributed async core platform system queue service shared flow major library"
        " infrastructure advanced enhanced phase format target region provider management",
    },
    "analyst": {
        3.0: "analyse analyze analysis analyst analytics",
        2.2: "requirement quantify stakeholder metric kpi okr roi 'return on investment' churn cohort funnel"
        " breakdown forecast gap 'cost benefit' statistic statistical 'acceptance criteria' 'user story'"
        " segment segmentation correlation profitability 'use case' 'as is' bottleneck swot 'data quality'"
        " questionnaire insight 'how many' 'how much' 'how often'",
        1.5: "estimate estimation impact risk inventory number figure trend baseline revenue cost budget"
        " expense sales margin profit measure measurement assess size sizing capacity cause interview"
        " demand significant rank dataset spreadsheet adoption conversion projection variance deviation"
        " outlier average median classify classification seasonality persona workload 'current state'"
        " 'where does' 'what would' needs",
        1.0: "data usage quantity percentage share why collect count log evidence traffic prioritise"
        " prioritize need scope feasibility finding summarise summarize summary explain explanation"
        " categorise categorize process map expensive price compare report driver",
        0.5: "identify gather month monthly quarter year ticket country customer group experiment account efficiency",
    },
    "researcher": {
        3.0: "research researcher literature 'prior art' 'state of the art' 'proof of concept'",
        2.2: "survey spike explore exploration evaluate evaluation investigate investigation paper 'look into'"
        " 'find out' 'learn about' 'learn how' bibliography whitepaper academic experiment 'what is'"
        " 'what are' 'can we' 'is it' 'is there' 'are there' 'best practice' 'which' scan",
        1.5: "alternative compare comparison competitor option landscape study publish source licence license"
        " feasible feasibility candidate prototype hypothesis 'what do' 'what does' 'how do' 'how does'"
        " technique method background regulation known emerging overview history 'who else' learn",
        1.0: "whether evidence accuracy vs versus recommend recommendation available exist technology approach"
        " possible vendor market trend law standard others benchmark theory science published",
        0.5: "browser library tool other engine",
    },
    "implementer": {
        2.2: "implement refactor code coding coder program programming develop developer crud",
        1.5: "endpoint add build create port rename extract upload download parser adapter wrapper button form"
        " widget page handler driver convert paginate pagination importer exporter class method function"
        " feature webhook toggle dialog field column backend frontend react vue angular javascript"
        " typescript css html rewrite checkbox dropdown tooltip autocomplete middleware screen menu login"
        " signup password undo redo theme 'dark mode' 'drag and drop' firmware decoder encoder compiler"
        " timer shortcut flag icon swap enable",
        1.0: "support make extend change update replace remove api module script query database cache callback"
        " parse serialise serialize sort filter search sdk connection client async retry let allow store"
        " save load send fetch render display show option setting argument cli command table view list"
        " local django flask rails rust java kotlin swift python sql http json xml csv app import export"
        " notification email mail limiter component profile picture plugin integrate migrate",
        0.6: "implementation library integration pool hook logic provider work user use return new file simple"
        " server service tool generate input output order account image text start",
    },
    "debugger": {
        3.0: "debug debugger bug crash segfault traceback stacktrace deadlock bisect 'root cause' hang"
        " 'memory leak' 'race condition' 'does not' 'do not' 'not work' 'no longer'",
        2.2: "fix repair broken fail failure error exception reproduce fault leak flaky diagnose diagnosis"
        " troubleshoot freeze corrupt corruption regress panic 'core dump' incident outage 'stack trace'"
        " hotfix 'track down' unhandled 'data loss' cannot",
        1.5: "wrong incorrect wrongly slow slowdown duplicate missing stuck stall timeout unexpected symptom"
        " 500 502 503 504 nan oom infinite sporadic intermittent defect glitch lost loss resolve"
        " resolution undefined null blank garbled flicker hiccup random randomly sometimes rejection twice"
        " 'off by' postmortem skip swallow correct",
        1.0: "after since cause issue problem unable grow disappear profile stop refuse reject warning"
        " suddenly never known instead without idle ignore 'at random' handling",
        0.5: "production nobody return user late early",
    },
    "tester": {
        3.0: "test tester coverage 'end to end' e2e fuzz 'load test' 'stress test' qa pytest junit cypress",
        2.2: "verify verification validate validation benchmark exploratory regression acceptance 'edge case'"
        " 'smoke test' assertion 'penetration test' usability playwright selenium simulate simulation"
        " conformance 'try to break' 'cross browser' 'dry run'",
        1.5: "quality check exercise measure scenario performance stress accessibility reliability resilience"
        " fixture unit property criterion criteria correctness robustness prove proof soak suite"
        " chaos percentile survive malformed latency rehearsal 'under load' 'test plan'",
        1.0: "confirm load matrix device browser ramp concurrent case pass candidate compatibility cover"
        " restore sandbox sample snapshot trial",
        0.5: "run every automation automated final complete framework system reproduce compare record integration",
    },
    "reviewer": {
        3.0: "review reviewer 'pull request' 'code review' 'sign off' 'merge request' 'second opinion'",
        2.2: "audit critique critical approve approval proofread 'look over' 'go through' 'read through'"
        " inspect inspection feedback scrutinise scrutinize 'comment on'",
        1.5: "assess assessment verdict severity maintainability opinion style vulnerability compliance patch"
        " diff 'peer review' critic judge vet wording 'coding standard' 'style guide' homework applicant"
        " colleague",
        1.0: "security finding check branch draft comment correctness read quality standard guideline"
        " violation smell evaluate line please leftover threat privacy",
        0.5: "author convention contract code proposal change dependency",
    },
    "documenter": {
        3.0: "document documentation documenter readme docstring changelog tutorial 'how to' howto handbook glossary",
        2.2: "manual faq guide wiki docs userguide cheatsheet article blog newsletter 'user guide' walkthrough"
        " 'knowledge base' copywriting quickstart 'getting started' cookbook recipe runbook screenshot"
        " 'write down' 'help page' 'help centre' minutes describe",
        1.5: "reference explain translate translation example write terminology text wording onboarding page"
        " note notes chapter publication markdown sphinx paragraph instruction instructions caption"
        " description specification operator beginner newcomer reader",
        1.0: "rewrite consistency consistent spelling comment comments overview introduction summary diagram"
        " section sentence public language french german english transcript editorial style press template"
        " heading title",
        0.5: "new user release version concise content update api migration installation newbie works",
    },
    "devops": {
        3.0: "devops terraform kubernetes docker dockerfile helm ansible jenkins 'ci cd' 'github actions' cicd"
        " 'continuous integration' 'continuous delivery' prometheus grafana nginx",
        2.2: "deploy deployment pipeline monitor monitoring alert alerting provision container infrastructure"
        " packaging rollout rollback backup ci certificate tls hosting cluster observability installer git"
        " autoscale systemd firewall canary 'blue green' 'pre commit' 'object storage' dns vpn",
        1.5: "package publish tag environment staging install installation server cloud aws azure gcp image"
        " build commit branch repository configure configuration config secret dashboard log health cron"
        " upload node uptime wheel pypi npm registry nightly rotate ssl proxy manifest workflow automation"
        " automate ship host restart cleanup domain",
        1.0: "release version upgrade linux macos windows shell ssh hook resource artifact limit scale merge"
        " diagnostic migrate archive runtime script schedule retention disk edge automatic automatically"
        " squash detect cross platform tool",
        0.5: "system cache job setup history issue tracking organise organize organization site machine move"
        " production optimization maintenance",
    },
    "coordinator": {
        3.0: "coordination coordinator retrospective kickoff 'kick off' 'go live' standup 'steering committee'",
        2.2: "coordinate plan planning roadmap milestone sprint handover 'hand over' announce announcement"
        " launch organise organize sequence meeting agenda delegate synthesis synthesise synthesize"
        " timeline backlog 'status report' prioritise prioritize preparation prepare invite 'follow up'"
        " 'next step' 'bring together' 'go no' deadline",
        1.5: "schedule status team blocker track agree sync epic story assign progress release communicate"
        " communication consolidate owner align alignment workshop week weekly logistics rehearse"
        " everybody everyone department partner committee who recipient participant programme",
        1.0: "order dependency final overall group project date decide responsibility combine gather collect"
        " customer hand breakdown delivery stakeholder rollout merge vacation holiday cover open supplier"
        " expectation meta",
        0.5: "phase complete end result list until closing finish major report beta keep",
    },
}
"""By role and weight."""

OPENINGS: Final[Mapping[str, Mapping[float, str]]] = {
    "architect": {
        1.5: "design choose decide define model architect",
        0.7: "split sketch propose restructure",
    },
    "analyst": {
        1.5: "why analyse analyze estimate quantify segment classify",
        1.0: "compare break gather count identify size map collect",
    },
    "researcher": {
        1.5: "research explore investigate evaluate survey which learn study can",
        1.0: "compare find look how is what read are",
    },
    "implementer": {
        1.5: "implement add build create port let make rename extract refactor allow support store save send"
        " swap convert enable hide display",
        1.0: "write move replace change upgrade remove extend show integrate update use consume load fetch"
        " turn put generate",
    },
    "debugger": {
        1.5: "fix debug resolve repair diagnose bisect reproduce correct",
        1.0: "track find stop investigate",
    },
    "tester": {
        1.5: "test verify validate benchmark fuzz cover simulate prove",
        1.0: "check try raise run measure does exercise",
    },
    "reviewer": {
        1.5: "review audit approve critique comment proofread",
        1.0: "check assess inspect look read evaluate",
    },
    "documenter": {
        1.5: "document explain describe write translate",
        0.7: "rewrite keep update",
    },
    "devops": {
        1.5: "deploy release publish configure provision install monitor automate alert rotate tag ship restart host",
        0.7: "set move cut package build upgrade clean",
    },
    "coordinator": {
        1.5: "plan coordinate organise organize prepare announce schedule agree track invite assign get merge",
        1.0: "bring hand order run break align collect list",
    },
}
"""What the first word of a title says: it is what is to be done."""

BY_TYPE: Final[Mapping[str, Mapping[str, float]]] = {
    "breakdown": {"architect": 1.5, "coordinator": 1.0, "analyst": 0.4},
    "milestone": {"coordinator": 3.0},
    "review": {"reviewer": 3.5, "tester": 0.5},
    "approval": {"reviewer": 3.0, "coordinator": 1.0},
    "research": {"researcher": 3.0, "analyst": 1.5},
    "implementation": {"implementer": 1.5, "devops": 0.3, "architect": 0.3, "debugger": 0.3},
    "testing": {"tester": 3.5},
    "documentation": {"documenter": 3.5},
    "deployment": {"devops": 3.5},
}
"""What the type of a task says; `standard` and `custom` say nothing."""

COMMONPLACE: Final = (
    "add build create develop ensure establish implement implementation integrate integration make provide set support"
    " system use work"
)
"""Words that stand in descriptions of everything: what is to be built is said with them, whoever builds it."""

CONTAINER_WORDS: Final = "phase plan project task"
"""Words that name what holds tasks, whatever these are about."""

BY_COMPLEXITY: Final[Mapping[str, Mapping[str, float]]] = {
    "trivial": {"implementer": 0.3, "documenter": 0.2, "architect": -1.0},
    "simple": {"implementer": 0.2, "documenter": 0.1, "architect": -0.5},
    "complex": {"architect": 0.3},
    "very_complex": {"architect": 0.8},
}

STOP_WORDS: Final = (
    "a about above all also an and any are as at be been before being below between both but by do each few for from"
    " further had has have he her here him his i if in into it its itself just me more most my no nor not of on once"
    " only or our out over own same she should so some such than that the their them then there these they this those"
    " through to too under up very was we were will with would you your one two"
)
"""Words from which nothing is learned, neither of a role's description nor of a correction."""
