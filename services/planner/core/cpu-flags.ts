/**
 * CPU flags that a running process may rely on. A process restored on a CPU that lacks an instruction it has chosen at
 * start (glibc does, for memcpy) dies of SIGILL, later and at random. Flags that only kernels see (mitigations,
 * virtualisation, timers, power) differ between kernel versions on the very same CPU: those are left out by name.
 * A flag unknown here counts.
 */
const kernelOnly = new Set(
  `acpi amd_ibpb amd_ibrs amd_lbr_v2 amd_ssbd amd_stibp aperfmperf apic arat arch_capabilities arch_lbr
  arch_perfmon art auto_ibrs avic bhi_ctrl btc_no bts bus_lock_detect cat_l2 cat_l3 cdp_l2 cdp_l3 clear_bhb_hw
  clear_bhb_loop constant_tsc cpb cppc cpuid cpuid_fault cqm cqm_llc cqm_mbm_local cqm_mbm_total cqm_occup_llc dca
  de debug_swap decodeassists ds_cpl dtes64 dtherm dts epb ept ept_ad est extapic extd_apicid fast_lts
  flexpriority flush_l1d flushbyasid hfi ht hw_pstate hwp hwp_act_window hwp_epp hwp_notify hwp_pkg_req hypervisor
  ibpb ibpb_exit_to_user ibpb_on_vmexit ibrs ibrs_enhanced ibs ida intel_ppin intel_pt intel_stibp invpcid
  invpcid_single irperf la57 lbrv mba mca mce md_clear monitor msr mtrr nonstop_tsc nopl npt nrip_save nx osvw
  overflow_recov pae pat pausefilter pbe pcid pconfig pdcm pdpe1gb pebs perfctr_core perfctr_l2 perfctr_llc
  perfctr_nb perfmon_v2 pfthreshold pge pln proc_feedback pse pse36 pti pts rapl rdt_a rep_good retpoline
  retpoline_amd rrsba_ctrl rsb_ctxsw rsb_vmexit rsb_vmexit_lite sev sev_es sev_snp skinit smap smca sme smep smx
  spec_ctrl split_lock_detect ss ssbd stibp stibp_always_on succor svm svm_lock tce tdx_guest tm tm2 topoext
  tpr_shadow tsc_adjust tsc_deadline_timer tsc_known_freq tsc_reliable tsc_scale umip unret use_ibpb use_ibrs_fw
  v_spec_ctrl v_vmsave_vmload vgif virt_ssbd vmcb_clean vme vmmcall vmx vnmi vpid wbnoinvd wdt x2apic x2avic
  xtopology xtpr`
    .split(/\s+/)
    .filter((flag) => flag !== ""),
);

/** Flags that the source has, a process may rely on, and the destination lacks; sorted. */
export function missingFlags(source: readonly string[], destination: readonly string[]): string[] {
  const there = new Set(destination);
  return [...new Set(source)].filter((flag) => !there.has(flag) && !kernelOnly.has(flag)).sort();
}
