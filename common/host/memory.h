/* memory: what the process holds of the machine's memory. */
#ifndef UKAI_MEMORY_H
#define UKAI_MEMORY_H

/* Give back what only the start needed: pages of programs and libraries that
 * were mapped in for it, and freed heap. Nothing is lost: what is used again is
 * mapped in again from the page cache, at a minor fault for 16 pages. Call once
 * when everything is set up, before a system call filter is loaded. */
void memory_give_back(void);

/* Give back freed heap, after something that needed much of it. */
void memory_trim(void);

#endif
